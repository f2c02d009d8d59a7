"""A session fixture whose finalizer fails: the last test that ran is in error."""


def test_it(leaves_badly):
    pass
