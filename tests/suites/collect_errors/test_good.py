"""Good tests beside files that cannot be collected."""


def test_one():
    pass


def test_two():
    raise AssertionError
