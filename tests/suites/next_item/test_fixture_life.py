"""A fixture of module or class scope lives exactly as long as pytest lets it."""

import pytest

ALIVE = []


@pytest.fixture(scope="module", params=["a", "b"])
def wide(request):
    ALIVE.append(request.param)
    yield request.param
    ALIVE.remove(request.param)


@pytest.fixture(scope="class")
def narrow():
    ALIVE.append("narrow")
    yield
    ALIVE.remove("narrow")


class TestFirst:
    def test_one(self, wide, narrow):
        assert ALIVE == [wide, "narrow"]

    def test_two(self, wide, narrow):
        assert ALIVE == [wide, "narrow"]


def test_class_is_over(wide):
    assert ALIVE == [wide]


def test_without_the_fixture():
    # Still alive if the test before ran in this worker: its scope is the module.
    assert ALIVE in ([], ["a"], ["b"])
