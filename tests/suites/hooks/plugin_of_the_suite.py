"""A plugin loaded with `-p`."""

import pytest


@pytest.fixture
def from_plugin(request):
    return request.config.getoption("--flavour")


def pytest_addoption(parser):
    parser.addoption("--flavour", default="plain")
