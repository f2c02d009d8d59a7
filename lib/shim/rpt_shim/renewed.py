"""Owns collecting changed test files again in a session that has collected, each in the place of
what it was. Everything else of the session stays.

rpt asks for it where no other file can notice (`inventory/partial.rs`): the file does nothing at its
import that can be felt elsewhere, and nothing but pytest's own hooks has a say. What shows here that
it is otherwise, or that pytest tells people something of, is a `Doubt`: then the session is of no use
any more, and all is collected in another process.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import itertools
import linecache
import os
import sys
import types
from collections.abc import Container, Iterator
from typing import Any

import pytest
from _pytest.assertion import rewrite
from _pytest.warnings import catch_warnings_for_item

from rpt_shim import inventory, shortcuts, wire
from rpt_shim.dependencies import is_borrowed, is_shared
from rpt_shim.findings import Findings

#: Where the old items of a file began and ended in the session's list, and those that stand there now.
Replaced = tuple[int, int, list[pytest.Item], list[pytest.Item]]

#: What statements are made of that hold others.
BLOCKS = (ast.stmt, ast.excepthandler)


class Doubt(Exception):
    """Why the session is of no use any more."""


class Runs:
    """Where the tests of a file stand among all: to look at each item of a large suite takes longer
    than to collect a file."""

    def __init__(self, items: list[pytest.Item]) -> None:
        #: Neighbours of one file: the file as in their ids, and how many.
        self.runs: list[tuple[str, int]] = []
        files = (inventory.node_id(item).split("::", 1)[0] for item in items)
        self.runs.extend((file, len(list(same))) for file, same in itertools.groupby(files))

    def of(self, files: Container[str]) -> list[tuple[int, int]]:
        """Where each run of these files begins and ends."""
        found, start = [], 0
        for file, count in self.runs:
            if file in files:
                found.append((start, start + count))
            start += count
        return found

    def count(self) -> int:
        """How many tests there are."""
        return sum(count for _, count in self.runs)

    def takes_in(self, file: str, count: int) -> None:
        """There are so many of a file of which there is one run."""
        self.runs = [(known, count if known == file else before) for known, before in self.runs]


def renew(findings: Findings, session: pytest.Session, runs: Runs, paths: list[str]) -> list[Replaced]:
    """Collects these files again, in their order."""
    told = findings.counted()
    replaced = [_renew(findings, session, runs, path) for path in paths]
    if findings.counted() != told:
        raise Doubt("pytest has something to tell of it")
    session.testscollected = len(session.items)
    return replaced


def _renew(findings: Findings, session: pytest.Session, runs: Runs, path: str) -> Replaced:
    file = wire.text(os.path.relpath(path, session.config.rootpath)).replace(os.sep, "/")
    old, start, stop = _place(session, runs.of((file,)), path)
    if any(warning["file_path"] == path and warning["when"] == "collect" for warning in findings.warnings):
        raise Doubt("pytest has warned of it")
    reports, of_before = findings.reports, len(findings.reports)
    folders = list(sys.path)
    known = dict(vars(old.obj))
    _forget(session, old)
    with _from_source(path):
        fresh, items = _collect(session, old)
    for name in _imported(path):
        # Of the modules that it imports from, files that come after it may have changed.
        if known.get(name, known) is not vars(fresh.obj).get(name, known):
            raise Doubt(f"what it imports as {name} is not what it was")
    # Importing it put its folder to the front, where the folders of files after it belong.
    sys.path[:] = folders
    _replace_reports(reports, of_before, old, fresh)
    if not items or any(map(is_shared, items)):
        raise Doubt("it has no tests, or its parameters order tests of other files")
    if any(map(is_borrowed, items)):
        raise Doubt("its tests come of other files, too")
    before = session.items[start:stop]
    session.items[start:stop] = items
    runs.takes_in(file, len(items))
    return start, stop, before, items


def _place(session: pytest.Session, runs: list[tuple[int, int]], path: str) -> tuple[pytest.Module, int, int]:
    if len(runs) != 1:
        raise Doubt("its tests do not stand together")
    items = session.items[slice(*runs[0])]
    modules = {item.getparent(pytest.Module) for item in items}
    module = modules.pop() if len(modules) == 1 else None
    if type(module) is not pytest.Module or str(module.path) != path or module.parent is None:
        raise Doubt("its tests are not those of one module")
    return module, *runs[0]


def _collect(session: pytest.Session, old: pytest.Module) -> tuple[pytest.Module, list[pytest.Item]]:
    """As pytest does where it comes to the file."""
    config: Any = session.config
    warned: Any = contextlib.nullcontext()
    if config.pluginmanager.hasplugin("warnings"):
        warned = catch_warnings_for_item(config=config, ihook=config.hook, when="collect", item=None)
    with warned:
        found = session.gethookproxy(old.path).pytest_collect_file(file_path=old.path, parent=old.parent)
        if len(found) != 1 or type(found[0]) is not pytest.Module:
            raise Doubt("it is not one module")
        items = list(session.genitems(found[0]))
        config.hook.pytest_collection_modifyitems(session=session, config=config, items=items)
    if hasattr(session, "_collection_cache"):
        session._collection_cache = {}
    return found[0], items


def _forget(session: pytest.Session, old: pytest.Module) -> None:
    manager: Any = session._fixturemanager
    if _is_held(old, getattr(manager, "_holderobjseen", set())):
        raise Doubt("somebody else holds its module")
    module = old.obj
    names = [name for name, known in list(sys.modules.items()) if known is module]
    if type(module) is not types.ModuleType or names != [module.__name__]:
        raise Doubt("its module is not under its name")
    del sys.modules[module.__name__]
    linecache.cache.pop(str(old.path), None)
    for table in _tables(manager):
        for place in [place for place in table if _is_of(old, place)]:
            del table[place]
    by_name = getattr(manager, "_arg2fixturedefs", {})
    for name, definitions in list(by_name.items()):
        definitions[:] = [definition for definition in definitions if not _is_of(old, definition.baseid)]
        if not definitions:
            del by_name[name]
    seen = getattr(manager, "_holderobjseen", set())
    for holder in [holder for holder in seen if holder is module or _defined_in(holder) == module.__name__]:
        seen.discard(holder)
    shortcuts.forget(session)


def _is_held(old: pytest.Module, seen: set[Any]) -> bool:
    """Whether anybody has its module but Python under its name, its package and pytest."""
    module = old.obj
    free = types.ModuleType(module.__name__)
    package, _, name = module.__name__.rpartition(".")
    holders = [
        sys.modules.get(module.__name__) is module,
        vars(sys.modules.get(package, free)).get(name) is module,
        vars(old).get("_obj") is module,
        module in seen,
    ]
    return sys.getrefcount(module) - sys.getrefcount(free) != sum(holders)


def _imported(path: str) -> Iterator[str]:
    """The names that the file's imports bind in its module."""
    with open(path, "rb") as file:
        statements: list[Any] = list(ast.parse(file.read()).body)
    for statement in statements:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (name.asname or name.name.split(".")[0] for name in statement.names)
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            # Blocks of statements, and what may be done when one fails.
            statements += [inner for inner in ast.iter_child_nodes(statement) if isinstance(inner, BLOCKS)]


@contextlib.contextmanager
def _from_source(path: str) -> Any:
    """Imports no bytecode of the file, and leaves none. Older versions of pytest, and Python itself,
    tell by the size and the second of a source whether it is the one that was compiled: saved twice
    in a second, as by an editor and a formatter, it is not."""
    if "source_hash" in inspect.signature(rewrite._write_pyc_fp).parameters:
        # By its content.
        yield
        return
    compiled = importlib.util.cache_from_source(path)
    rewritten = os.path.join(os.path.dirname(compiled), os.path.basename(path)[: -len(".py")] + rewrite.PYC_TAIL)
    for bytecode in (compiled, rewritten):
        # There may be none, or it may not be removed: then it is no later one's.
        with contextlib.suppress(OSError):
            os.unlink(bytecode)
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none


def _tables(manager: Any) -> list[dict[Any, Any]]:
    """What a manager knows by node or node id."""
    tables = [getattr(manager, name, {}) for name in ("_node_autousenames", "_nodeid_autousenames")]
    for name in ("_arg2node2fixturedefs", "_arg2nodeid2fixturedefs"):
        tables += getattr(manager, name, {}).values()
    return tables


def _is_of(old: pytest.Module, place: Any) -> bool:
    """Whether a node, or one with that id, is the module or in it."""
    if isinstance(place, str):
        return place == old.nodeid or place.startswith(f"{old.nodeid}::")
    return place is old or (not isinstance(place, pytest.Session) and place.getparent(pytest.Module) is old)


def _defined_in(holder: Any) -> str:
    return (holder if isinstance(holder, type) else type(holder)).__module__


def _replace_reports(reports: list[pytest.CollectReport], end: int, old: pytest.Module, fresh: pytest.Module) -> None:
    """In their place are those that follow `end`."""
    new = reports[end:]
    del reports[end:]
    numbers = [number for number, report in enumerate(reports) if _is_of(old, str(report.nodeid))]
    if not numbers or numbers[-1] - numbers[0] + 1 != len(numbers):
        raise Doubt("its reports do not stand together")
    reports[numbers[0] : numbers[-1] + 1] = new
    for report in reports:
        if report.result and old in report.result:
            report.result[report.result.index(old)] = fresh
