import pytest


@pytest.mark.no_such_mark
def test_it():
    pass
