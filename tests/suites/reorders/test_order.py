import pytest


@pytest.mark.parametrize("number", range(5))
def test_number(number):
    assert number != 3


def test_unwanted():
    raise AssertionError


@pytest.mark.slow
def test_slow():
    pass
