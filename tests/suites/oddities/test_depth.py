import os


def test_conftest_of_another_folder_does_not_reach_here():
    assert "ODDITIES_DEPTH" not in os.environ


def test_fixture_of_another_folder(depth):
    pass
