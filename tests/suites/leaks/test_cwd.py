"""A test that goes elsewhere, takes the folder away and does not come back."""

import os


def test_leaves_for_good(tmp_path):
    os.chdir(tmp_path)


def test_is_still_elsewhere():
    assert os.path.basename(os.getcwd()).startswith("test_leaves_for_good")


def test_fails_elsewhere():
    raise AssertionError


def test_removes_where_it_stands(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


def test_stands_nowhere():
    os.getcwd()


def test_passes_nowhere():
    pass


def test_comes_back():
    os.chdir(os.path.dirname(__file__))
