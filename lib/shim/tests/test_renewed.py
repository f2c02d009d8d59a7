"""Tests of where the tests of a file stand among all."""

from __future__ import annotations

from types import SimpleNamespace

from rpt_shim.renewed import Runs


def runs(*ids):
    return Runs([SimpleNamespace(nodeid=id) for id in ids])


def test_files_have_their_places():
    known = runs("a.py::f", "a.py::g[x::y]", "b.py::f", "a.py::h")
    assert known.of({"b.py"}) == [(2, 3)]
    assert known.of({"a.py", "none.py"}) == [(0, 2), (3, 4)]
    assert runs().of({"a.py"}) == []


def test_what_becomes_longer_or_shorter_moves_what_follows():
    known = runs("a.py::f", "b.py::f", "b.py::g", "c.py::f")
    known.takes_in("a.py", 5)
    known.takes_in("b.py", 1)
    assert known.of({"a.py"}) == [(0, 5)]
    assert known.of({"b.py", "c.py"}) == [(5, 6), (6, 7)]
