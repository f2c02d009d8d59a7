"""A conftest that holds only for its folder."""

import pytest


@pytest.fixture
def depth():
    return "deep"


@pytest.fixture(autouse=True)
def here_only(monkeypatch):
    monkeypatch.setenv("ODDITIES_DEPTH", "deep")
