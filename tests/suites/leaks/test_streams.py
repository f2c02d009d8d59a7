"""Tests that replace or close their streams."""

import io
import os
import sys


def test_replaces_stdout():
    sys.stdout = io.StringIO()
    print("nobody sees this")


def test_closes_stdin():
    os.close(0)


def test_opens_the_next_free_descriptor():
    assert os.open(os.devnull, os.O_RDONLY) == 0


def test_after_that():
    print("still heard")
