"""Owns collecting changed test files again in a session that has collected, each in the place of
what it was. Everything else of the session stays.

rpt asks for it where no other file can notice (`inventory/partial.rs`): the file does nothing at its
import that can be felt elsewhere, and nothing but pytest's own hooks has a say. What shows here that
it is otherwise, or that pytest tells people something of, is a `Doubt`: then the session is of no use
any more, and all is collected in another process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import linecache
import os
import sys
import types
from typing import Any

import pytest
from _pytest.assertion import rewrite
from _pytest.warnings import catch_warnings_for_item

from rpt_shim import shortcuts
from rpt_shim.dependencies import is_shared
from rpt_shim.findings import Findings

#: Where the old items of a file began and ended in the session's list, and those that stand there now.
Replaced = tuple[int, int, list[pytest.Item], list[pytest.Item]]


class Doubt(Exception):
    """Why the session is of no use any more."""


def renew(findings: Findings, session: pytest.Session, paths: list[str]) -> list[Replaced]:
    """Collects these files again, in their order."""
    told = findings.counted()
    replaced = [_renew(findings, session, path) for path in paths]
    if findings.counted() != told:
        raise Doubt("pytest has something to tell of it")
    session.testscollected = len(session.items)
    return replaced


def _renew(findings: Findings, session: pytest.Session, path: str) -> Replaced:
    old, start, stop = _place(session, path)
    if any(warning["file_path"] == path and warning["when"] == "collect" for warning in findings.warnings):
        raise Doubt("pytest has warned of it")
    reports, of_before = findings.reports, len(findings.reports)
    folders = list(sys.path)
    _forget(session, old)
    with _from_source(path):
        fresh, items = _collect(session, old)
    # Importing it put its folder to the front, where the folders of files after it belong.
    sys.path[:] = folders
    _replace_reports(reports, of_before, old, fresh)
    if not items or any(map(is_shared, items)):
        raise Doubt("it has no tests, or its parameters order tests of other files")
    before = session.items[start:stop]
    session.items[start:stop] = items
    return start, stop, before, items


def _place(session: pytest.Session, path: str) -> tuple[pytest.Module, int, int]:
    numbers = [number for number, item in enumerate(session.items) if str(item.path) == path]
    modules = {session.items[number].getparent(pytest.Module) for number in numbers}
    module = modules.pop() if len(modules) == 1 else None
    if type(module) is not pytest.Module or str(module.path) != path or module.parent is None:
        raise Doubt("its tests are not those of one module")
    if numbers[-1] - numbers[0] + 1 != len(numbers):
        raise Doubt("its tests do not stand together")
    return module, numbers[0], numbers[-1] + 1


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
    module = old.obj
    names = [name for name, known in list(sys.modules.items()) if known is module]
    if type(module) is not types.ModuleType or names != [module.__name__]:
        raise Doubt("its module is not under its name")
    del sys.modules[module.__name__]
    linecache.cache.pop(str(old.path), None)
    manager: Any = session._fixturemanager
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
