"""Owns the fixtures that pytest-xdist gives a worker, for suites that use them."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """`gw0`, `gw1`, …; `master` where tests run without workers."""
    workerinput = getattr(request.config, "workerinput", None)
    return "master" if workerinput is None else workerinput["workerid"]


@pytest.fixture(scope="session")
def testrun_uid(request: pytest.FixtureRequest) -> str:
    """One name for the run, the same in every worker."""
    workerinput = getattr(request.config, "workerinput", None)
    return uuid.uuid4().hex if workerinput is None else workerinput["testrunuid"]
