"""A file of the same name in another folder, in a package."""


def test_passes():
    assert __name__ == "inner.test_outcomes"


def test_fails():
    raise AssertionError
