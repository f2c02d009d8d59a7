import pytest


@pytest.mark.parametrize("word", ["ann", "bob", "eve"])
def test_loud(ask, word):
    assert ask(word) == word.upper()


def test_wrong(ask):
    assert ask("ann") == "ann"


@pytest.mark.parametrize("number", range(8))
def test_without_server(number):
    assert number < 8
