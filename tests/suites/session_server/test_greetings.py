import urllib.request

import pytest


@pytest.mark.parametrize("name", ["ann", "bob", "eve"])
def test_greeting(server, name):
    with urllib.request.urlopen(f"{server}/{name}") as answer:
        assert answer.read() == f"hello /{name}".encode()


def test_wrong_greeting(server):
    with urllib.request.urlopen(server) as answer:
        assert answer.read() == b"goodbye"
