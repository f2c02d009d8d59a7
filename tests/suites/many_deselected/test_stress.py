"""Thousands of parametrized items of which few are run, as in click's suite."""

import os

import pytest

SCALE = int(os.environ.get("RPT_SUITE_SCALE", "1"))


@pytest.mark.stress
@pytest.mark.parametrize("number", range(3_100 * SCALE))
def test_stress(number):
    raise AssertionError


@pytest.mark.parametrize("number", range(10))
def test_light(number):
    assert number != 7
