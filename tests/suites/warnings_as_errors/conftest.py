"""A suite in which any warning is a failure: ours would be one."""

import socket

import pytest


@pytest.fixture(scope="session")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server
