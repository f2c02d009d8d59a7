"""Owns which items use fixtures that are set up once for many files: those of the
project of session and package scope, and those named exclusive. Asks pytest about
what is declared; what a test asks for while it runs cannot be known before.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rpt_shim import wire

#: What is installed is no part of the project, even below its root.
INSTALLED = {"site-packages", "dist-packages"}


def used(session: pytest.Session, exclusive: Iterable[str]) -> tuple[list[list[Any]], list[str]]:
    """Fixtures and the items that use them: the fixture's name, whether it was named
    exclusive, and runs of items (the first one's number, how many). Of fixtures that
    are not exclusive, only those that a test can do without: an autouse fixture is
    had by every worker. And the names among `exclusive` that no fixture has."""
    table = definitions(session)
    named = set(exclusive)
    implied = _implied(session, table)
    root = session.config.rootpath
    entries: list[tuple[str, bool, list[list[int]]]] = []
    #: By the identity of a definition: its entry.
    places: dict[int, int] = {}
    for name, known in table.items():
        if name in named:
            # However it is overridden, there is one.
            places.update((id(definition), len(entries)) for definition in known)
            entries.append((name, True, []))
            continue
        for definition in known:
            is_wide = definition.scope in ("session", "package")
            if is_wide and _is_of_project(definition, root) and not _is_implied(definition, implied):
                places[id(definition)] = len(entries)
                entries.append((name, False, []))
    wanted = {entries[place][0] for place in places.values()}
    if wanted:
        for number, item in enumerate(session.items):
            info = getattr(item, "_fixtureinfo", None)
            names = info.name2fixturedefs.keys() & wanted if info is not None else ()
            for place in {places[key] for name in names for key in _chain(info, name) if key in places}:
                _add(entries[place][2], number)
    told = [[wire.text(name), is_exclusive, runs] for name, is_exclusive, runs in entries if runs]
    return told, sorted(named - table.keys())


def _add(runs: list[list[int]], number: int) -> None:
    if runs and sum(runs[-1]) == number:
        runs[-1][1] += 1
    else:
        runs.append([number, 1])


def _chain(info: Any, name: str) -> Iterable[int]:
    """The definitions behind a name: the one that counts, and those that it overrides
    and asks for."""
    for definition in reversed(info.name2fixturedefs[name]):
        yield id(definition)
        if name not in definition.argnames:
            return


def definitions(session: pytest.Session) -> dict[str, list[Any]]:
    """All definitions of fixtures, by name."""
    manager: Any = session._fixturemanager
    table: dict[str, list[Any]] = {}
    if hasattr(manager, "_arg2fixturedefs"):
        found = manager._arg2fixturedefs.items()
    elif hasattr(manager, "_arg2node2fixturedefs"):
        # pytest 9.1 and later.
        by_place = (manager._arg2node2fixturedefs, getattr(manager, "_arg2nodeid2fixturedefs", {}))
        found = [(name, defs) for of in by_place for name, places in of.items() for defs in places.values()]
    else:
        infos = (getattr(item, "_fixtureinfo", None) for item in session.items)
        found = [pair for info in infos if info is not None for pair in info.name2fixturedefs.items()]
    for name, definitions in found:
        known = table.setdefault(name, [])
        known.extend(definition for definition in definitions if definition not in known)
    return table


def _implied(session: pytest.Session, table: dict[str, list[Any]]) -> dict[str, list[str]]:
    """By name of a fixture: the nodes below which every test uses it, because an
    autouse fixture is it or asks for it."""
    manager: Any = session._fixturemanager
    places: dict[str, list[str]] = {}
    for node, names in getattr(manager, "_node_autousenames", {}).items():
        places.setdefault(node.nodeid, []).extend(names)
    for nodeid, names in getattr(manager, "_nodeid_autousenames", {}).items():
        places.setdefault(nodeid, []).extend(names)
    implied: dict[str, list[str]] = {}
    for place, names in places.items():
        left, seen = list(names), set()
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                implied.setdefault(name, []).append("" if place == "." else place)
                left.extend(argument for definition in table.get(name, ()) for argument in definition.argnames)
    return implied


def _is_implied(definition: Any, implied: dict[str, list[str]]) -> bool:
    """Whether every test that can see the fixture uses it."""
    seen_below = definition.baseid
    for place in implied.get(definition.argname, ()):
        if place in ("", seen_below) or seen_below.startswith((place + "/", place + "::")):
            return True
    return False


def _is_of_project(definition: Any, root: Path) -> bool:
    if definition.baseid:
        # Of a conftest below the root or of a test file.
        return True
    try:
        function = inspect.unwrap(getattr(definition.func, "func", definition.func))
        below = Path(getattr(function, "__func__", function).__code__.co_filename).relative_to(root)
    except (AttributeError, TypeError, ValueError):
        # Of another place, or no function of Python's.
        return False
    return not INSTALLED & set(below.parts)
