"""Tests of what is said of a collection's dependencies."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time

from rpt_shim import dependencies
from rpt_shim.dependencies import Dependencies


def test_what_cannot_be_told_keeps_nothing_and_costs_nothing(request, monkeypatch):
    def broken(_config):
        raise RuntimeError("a plugin that cannot be looked at")

    watched = Dependencies(time.time())
    watched.stop()
    told = watched.report(request.session)
    assert told["unseen"] is None or isinstance(told["unseen"], str)
    monkeypatch.setattr(dependencies, "foreign_hooks", broken)
    nothing = watched.report(request.session)
    assert nothing.keys() == told.keys()
    assert "RuntimeError: a plugin that cannot be looked at" in nothing["unseen"]
    assert (nothing["files"], nothing["listings"]) == ([], [])


def test_what_comes_into_such_a_folder_from_elsewhere_is_a_dependency(tmp_path):
    for name in ("linked", "moved", "joined"):
        (tmp_path / name).write_text("1")
    watched = Dependencies(time.time())
    try:
        for name, bring in (("linked", os.symlink), ("moved", os.rename), ("joined", os.link)):
            made = tmp_path / f"for_{name}"
            made.mkdir()
            bring(tmp_path / name, made / "data")
            (made / "data").read_text()
    finally:
        watched.stop()
    opened = {os.path.relpath(name, tmp_path) for name in watched.opened if name.startswith(str(tmp_path))}
    assert opened == {"for_linked/data", "for_moved/data", "for_joined/data"}


def test_what_a_collection_makes_for_itself_is_no_dependency(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "data").write_text("1")
    watched = Dependencies(time.time())
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(tmp_path / "there")
        with tempfile.TemporaryDirectory(dir=tmp_path) as made:
            with open(os.path.join(made, "new"), "w") as file:
                file.write("2")
            with open(os.path.join(made, "new")) as file:
                file.read()
            os.listdir(made)
        with open(tmp_path / "there" / "data") as file:
            file.read()
        os.listdir(tmp_path / "there")
    finally:
        watched.stop()
    below = [name for name in {**watched.opened, **watched.listed} if name.startswith(str(tmp_path))]
    assert sorted(below) == [str(tmp_path / "there"), str(tmp_path / "there" / "data")]
    assert watched.unseen is None


def test_pytest_makes_its_cache_folder_under_a_passing_name(tmp_path):
    watched = Dependencies(time.time())
    watched.stop()
    watched.listed = {str(tmp_path): ([], False)}
    making = tmp_path / "pytest-cache-files-0a_bcdef"
    making.mkdir()
    (making / "README.md").touch()
    assert watched.changed_listing({}) is None
    (making / "test_it.py").touch()
    assert watched.changed_listing({}) == f"{tmp_path} changed while it was collected"
