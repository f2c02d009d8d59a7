import pytest

STARTS = []


@pytest.fixture(scope="package", autouse=True)
def package_resource():
    STARTS.append(1)
    yield STARTS
    STARTS.append("ended")
