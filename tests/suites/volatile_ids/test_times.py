"""Ids that differ at each collection."""

import time
import uuid

import pytest


@pytest.mark.parametrize("moment", [time.time_ns() + step for step in range(3)])
def test_moment(moment):
    assert moment > 0


@pytest.mark.parametrize("key", [str(uuid.uuid4())])
def test_key(key):
    raise AssertionError(key)


@pytest.mark.parametrize("name", {"red", "green", "blue"})
def test_name(name):
    assert name != "green"
