import pytest


@pytest.fixture(scope="session")
def leaves_badly():
    yield
    raise RuntimeError("the session's tear-down is broken")
