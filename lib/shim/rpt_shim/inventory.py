"""Owns what is said of a collected item. Asks pytest, guesses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest import mark as marking
from _pytest import skipping

from rpt_shim import marks, wire
from rpt_shim.shortcuts import Places

#: Marks that running must know of.
_ABOUT_RUNNING = frozenset(("xdist_group", "timeout", "flaky", *marks.SHARING))

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
    """What running needs: the id, the group, and what marks say of running it."""
    found: dict[str, list[pytest.Mark]] = {}
    for mark in item.iter_markers():
        if mark.name in _ABOUT_RUNNING:
            found.setdefault(mark.name, []).append(mark)
    if not found:
        return [node_id(item)]
    return [node_id(item), group_of(item), marks.of_item(found)]


class Describer:
    """Describes items; remembers what neighbours share."""

    def __init__(self) -> None:
        self._classes: dict[Any, str | None] = {}
        self._chains: dict[Any, tuple[str, ...]] = {}
        self._known: dict[Any, int] = {}
        self._numbers: dict[Any, int] = {}
        self._places = Places()
        #: Marks of some item say how it is run.
        self.is_tied = False
        #: What -k and -m look at, beside an item's own name; items name an entry by its number.
        self.selectors: list[list[Any]] = []

    def located(self, item: pytest.Item) -> list[Any]:
        """As `brief`, and where it is defined: the path relative to rootdir and the 0-based line."""
        path, line = self._places.of(item)
        said = brief(item)
        return [*said, *[None] * (3 - len(said)), [wire.text(path), line]]

    def full(self, item: pytest.Item) -> list[Any]:
        """The fields of a `test` record, in the order in which rpt reads them, and
        the number of its selector."""
        identity = node_id(item)
        file_path = identity.split("::", 1)[0]
        path, line = self._places.of(item)
        # A test inherited from another file has its line there, not here.
        lineno = line + 1 if line is not None and wire.text(path).replace("\\", "/") == file_path else None
        marks = list(item.iter_markers())
        markers = list(dict.fromkeys(wire.text(mark.name) for mark in marks))
        if not _ABOUT_RUNNING.isdisjoint(markers):
            self.is_tied = True
        selector = self._selector(item, marks)
        # Nearly always none: what -k matches is mostly in the id or a mark.
        known = {*markers, *identity.replace("::", "/").split("/"), file_path}
        keywords = [name for name in self.selectors[selector][0] if name not in known]
        return [
            [
                identity,
                file_path,
                lineno,
                wire.text(item.name),
                self._class_name(item),
                markers,
                _is_skipped(item, markers),
                _is_xfailed(item, markers),
                group_of(item) if "xdist_group" in markers else None,
                keywords or None,
                fixtures(item),
            ],
            selector,
        ]

    def _selector(self, item: pytest.Item, marks: list[Any]) -> int:
        """Which entry of `selectors` holds what -k matches (the item's own name left
        out) and its marks with their keyword arguments."""
        function = getattr(item, "function", None)
        attributes = tuple(vars(function)) if function else ()
        key = (item.parent, attributes, tuple(item.extra_keyword_matches), *map(id, marks))
        number = self._known.get(key)
        if number is None:
            if item.parent not in self._chains:
                self._chains[item.parent] = _names_above(item)
            names = {*self._chains[item.parent], *item.extra_keyword_matches, *filter(_is_matched, attributes)}
            names.update(mark.name for mark in marks)
            entry = (tuple(sorted(map(wire.text, names))), tuple(map(_mark, marks)))
            number = self._numbers.setdefault(entry, len(self._numbers))
            if number == len(self.selectors):
                self.selectors.append(list(entry))
            self._known[key] = number
        return number

    def _class_name(self, item: pytest.Item) -> str | None:
        parent = item.parent
        if parent not in self._classes:
            chain = parent.listchain() if parent is not None else []
            names = [wire.text(node.name) for node in chain if isinstance(node, pytest.Class)]
            self._classes[parent] = "::".join(names) or None
        return self._classes[parent]


def fixtures(item: pytest.Item) -> list[list[Any]] | None:
    """The fixtures of module scope and wider that it is known to use: name, scope and
    the node below which that fixture is visible."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None or not info.name2fixturedefs:
        return None
    wide = []
    for name in info.names_closure:
        definitions = info.name2fixturedefs.get(name)
        # A parameter of `parametrize` is no set-up.
        if definitions and type(definitions[-1]).__name__ != "DirectParamFixtureDef":
            found = definitions[-1]
            direct = getattr(found.func, "__name__", "") == "get_direct_param_fixture_func"
            if found.scope in ("session", "package", "module") and not direct:
                wide.append([wire.text(name), found.scope, wire.text(found.baseid)])
    return wide or None


def _names_above(item: pytest.Item) -> tuple[str, ...]:
    """What -k matches of the nodes above, as this version of pytest has it."""
    directory = getattr(pytest, "Directory", ())
    names = []
    for node in item.parent.listchain() if item.parent is not None else ():
        if not isinstance(node, pytest.Session):
            names += node.extra_keyword_matches
            if not (isinstance(node, directory) and isinstance(node.parent, pytest.Session)):
                names.append(node.name)
        else:
            names += node.extra_keyword_matches
    return tuple(names)


#: Which of a function's attributes -k matches; all of them before pytest 9.
_is_matched = getattr(marking, "_is_matchable_function_attribute", lambda name: True)


def _mark(mark: Any) -> tuple[Any, ...]:
    """A mark as -m sees it: its name, and what its keyword arguments equal."""
    return (wire.text(mark.name), tuple((wire.text(name), *_equal_to(value)) for name, value in mark.kwargs.items()))


def _equal_to(value: Any) -> tuple[str, str]:
    """To which text or whole number a value is equal, since -m knows no others."""
    if value is None:
        return ("none", "")
    kind = type(value)
    if isinstance(value, str) and kind.__eq__ is str.__eq__:
        return ("text", str.__str__(value)) if wire.text(str.__str__(value)) == value else ("unknown", "")
    if isinstance(value, int) and kind.__eq__ is int.__eq__:
        return ("number", str(int(value)))
    if kind is float:
        return ("number", str(int(value))) if value.is_integer() else ("never", "")
    if kind in (list, tuple, dict, set, frozenset, bytes) or kind.__eq__ is object.__eq__:
        return ("never", "")
    return ("unknown", "")


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
