import logging

import pytest
from product import double


def test_double():
    logging.getLogger().info("logged live")
    assert double(2) == 4


@pytest.mark.slow
def test_slow():
    raise AssertionError


@pytest.mark.xfail
def test_strict_by_ini():
    pass


def test_fails():
    local = "shown by --showlocals"
    assert double(2) == len(local)
