"""Tests of what a kept worker knows of the files it loaded."""

import os
import sys

import pytest

from rpt_shim.loaded import Loaded, changed

#: Long before any run, in nanoseconds since the epoch.
OLD = 10**18


def write(path, text, time=OLD):
    """As somebody else would, of whose files this process opens none."""
    aside = path.parent.parent / "aside"
    aside.write_text(text)
    os.utime(aside, ns=(time, time))
    os.replace(aside, path)


@pytest.fixture
def loaded(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    found = Loaded(str(project))
    yield found
    # The hook itself can never be taken off.
    found.interest = {}


@pytest.fixture
def project(loaded, tmp_path):
    return tmp_path / "project"


def names(loaded):
    return sorted(os.path.basename(path) for path in loaded.states() if path.startswith(loaded.root))


def test_files_and_folders_of_the_project(loaded, project, tmp_path):
    write(project / "data.txt", "1")
    write(tmp_path / "elsewhere.txt", "1")
    (project / "data.txt").read_text()
    (tmp_path / "elsewhere.txt").read_text()
    (project / "parts").mkdir()
    os.listdir(project / "parts")
    assert names(loaded) == ["data.txt", "parts"]
    states = loaded.states()
    assert changed(states.items()) is None
    (project / "parts" / "__pycache__").mkdir()
    assert changed(states.items()) is None
    (project / "parts" / "new").touch()
    assert changed(states.items()).endswith("parts")
    (project / "parts" / "new").unlink()
    write(project / "data.txt", "22")
    assert changed(states.items()).endswith("data.txt")
    assert loaded.states().endswith("data.txt"), "it changed while the run was on"


def test_what_tests_write_is_theirs(loaded, project):
    for mode in ("w", "a", "r+"):
        with open(project / "own.txt", mode) as file:
            file.write("x")
        (project / "own.txt").read_text()
    assert names(loaded) == []


def test_a_file_that_was_just_being_written_is_not_known(loaded, project, tmp_path):
    (tmp_path / "new").write_text("x")
    os.rename(tmp_path / "new", project / "new")
    (project / "new").read_text()
    assert loaded.states() == str(project / "new")


def test_modules_of_any_place(loaded, project, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path / "rpt_late_module.py", "")
    import rpt_late_module

    try:
        path = rpt_late_module.__file__
        states = loaded.states()
        assert path in states
        write(tmp_path / "rpt_late_module.py", "", OLD + 1)
        assert changed([(path, states[path])]) == path
        write(tmp_path / "rpt_late_module.py", "", loaded.began_ns + 1)
        assert loaded.states() == path, "nobody knows which of it was imported"
    finally:
        del sys.modules["rpt_late_module"]


def test_what_cannot_be_found_is_no_error(loaded, project):
    with pytest.raises(OSError):
        (project / "missing").read_text()
    states = loaded.states()
    assert changed(states.items()) is None
    (project / "missing").touch()
    assert changed(states.items()).endswith("missing")
