"""Collected because python_files says so."""


def test_it():
    pass
