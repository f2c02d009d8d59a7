"""A module fixture whose finalizer fails: the last test that ran with it is in error."""

import pytest


@pytest.fixture(scope="module")
def leaves_badly():
    yield
    raise RuntimeError("the module's tear-down is broken")


def test_it(leaves_badly):
    pass
