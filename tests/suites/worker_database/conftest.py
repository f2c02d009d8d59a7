"""A database for each worker, as pytest-xdist's documentation teaches it."""

import os
import sqlite3

import pytest


@pytest.fixture(scope="session")
def database(request, tmp_path_factory):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "master")
    if hasattr(request.config, "workerinput"):
        assert request.config.workerinput["workerid"] == worker
    connection = sqlite3.connect(tmp_path_factory.getbasetemp() / f"{worker}.db")
    connection.execute("create table visits (test text unique)")
    yield connection
    connection.close()
