"""A path that is hard to quote."""


def test_it():
    pass
