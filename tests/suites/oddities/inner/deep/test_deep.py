import os


def test_fixture(depth):
    assert depth == os.environ["ODDITIES_DEPTH"]
