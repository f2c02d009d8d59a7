"""`pytest.exit` ends the run with a code of its own choice."""

import pytest


def test_before():
    pass


def test_exit():
    pytest.exit("enough", returncode=7)


def test_after():
    raise AssertionError("never reached")
