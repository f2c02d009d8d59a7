"""Owns what is said of a collected item. Asks pytest, guesses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest import skipping

from rpt_shim import marks, wire

#: Marks that running must know of.
_ABOUT_RUNNING = ("xdist_group", "timeout", "flaky")

#: How many tests go into one message.
CHUNK = 2000


def group_of(item: pytest.Item) -> str | None:
    """The name of its xdist_group mark, as pytest-xdist reads it."""
    mark = item.get_closest_marker("xdist_group")
    if mark is None:
        return None
    name = mark.args[0] if mark.args else mark.kwargs.get("name", "default")
    return wire.text(name)


def node_id(item: pytest.Item) -> str:
    return wire.text(item.nodeid)


def brief(item: pytest.Item) -> list[Any]:
    """What running needs: the id, the group, and what marks say of limits and reruns."""
    nearest: dict[str, pytest.Mark] = {}
    for mark in item.iter_markers():
        if mark.name in _ABOUT_RUNNING:
            nearest.setdefault(mark.name, mark)
    if not nearest:
        return [node_id(item)]
    return [node_id(item), group_of(item), marks.of_item(nearest.get("timeout"), nearest.get("flaky"))]


class Describer:
    """Describes items; remembers what neighbours share."""

    def __init__(self) -> None:
        self._classes: dict[Any, str | None] = {}

    def full(self, item: pytest.Item) -> list[Any]:
        """The fields of a `test` record, in the order in which rpt reads them."""
        identity = node_id(item)
        file_path = identity.split("::", 1)[0]
        path, line, _ = item.location
        # A test inherited from another file has its line there, not here.
        lineno = line + 1 if line is not None and wire.text(path).replace("\\", "/") == file_path else None
        markers = list(dict.fromkeys(wire.text(mark.name) for mark in item.iter_markers()))
        return [
            identity,
            file_path,
            lineno,
            wire.text(item.name),
            self._class_name(item),
            markers,
            _is_skipped(item, markers),
            _is_xfailed(item, markers),
            group_of(item) if "xdist_group" in markers else None,
        ]

    def _class_name(self, item: pytest.Item) -> str | None:
        parent = item.parent
        if parent not in self._classes:
            chain = parent.listchain() if parent is not None else []
            names = [wire.text(node.name) for node in chain if isinstance(node, pytest.Class)]
            self._classes[parent] = "::".join(names) or None
        return self._classes[parent]


def _is_skipped(item: pytest.Item, markers: list[str]) -> bool:
    if getattr(getattr(item, "obj", None), "__unittest_skip__", False):
        return True
    if getattr(getattr(item.parent, "obj", None), "__unittest_skip__", False):
        return True
    if "skip" not in markers and "skipif" not in markers:
        return False
    try:
        return skipping.evaluate_skip_marks(item) is not None
    except (Exception, pytest.fail.Exception):
        # A condition that cannot be evaluated is an error when the test runs.
        return False


def _is_xfailed(item: pytest.Item, markers: list[str]) -> bool:
    if getattr(getattr(item, "obj", None), "__unittest_expecting_failure__", False):
        return True
    if "xfail" not in markers:
        return False
    try:
        return skipping.evaluate_xfail_marks(item) is not None
    except (Exception, pytest.fail.Exception):
        return False
