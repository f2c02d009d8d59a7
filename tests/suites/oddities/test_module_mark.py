"""Marks for the whole module."""

import pytest

pytestmark = [pytest.mark.xfail(reason="the module says so"), pytest.mark.slow]


def test_fails():
    raise AssertionError


def test_passes():
    pass


class TestInside:
    pytestmark = pytest.mark.number(3)

    def test_fails(self):
        raise AssertionError
