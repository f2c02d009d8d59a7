"""Thousands of parametrized tests in one file."""

import os

import pytest

SCALE = int(os.environ.get("RPT_SUITE_SCALE", "1"))


@pytest.mark.parametrize("number", range(1_000 * SCALE))
def test_number(number):
    assert number % 100 != 99
