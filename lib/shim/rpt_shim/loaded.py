"""Owns what a kept worker has loaded since it was forked: modules, and of the project the
files that were read and the folders that were listed. Where one of them is not what it was,
what the worker holds may be out of date. What was loaded before the fork is the collection's,
which rpt compares itself.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rpt_shim.dependencies import CACHE_IN_MAKING, installed_prefixes

#: Time and size of a file; of a folder 0 and its entries.
State = tuple[int, int]

#: What tools keep in a project.
OF_TOOLS = frozenset(("__pycache__", ".pytest_cache", ".rpt", ".git"))

#: Modules that list folders only to find what can be imported.
FINDERS = frozenset(("_frozen_importlib_external", "importlib._bootstrap_external", "importlib.metadata"))

#: A file that was written so shortly before may be written again without a trace, in nanoseconds.
COARSE_NS = 20_000_000


class Loaded:
    """Looks from its making on."""

    def __init__(self, root: str) -> None:
        self.root = os.path.join(root, "")
        self.modules = set(sys.modules)
        #: What was read and listed, as it was then; None: it was just being written.
        self.read: dict[str, State | None] = {}
        #: What tests wrote themselves is theirs.
        self.written: set[str] = set()
        #: When the run began, in nanoseconds since the epoch.
        self.began_ns = time.time_ns()
        self.owner = os.getpid()
        self.busy = False
        self.interest: dict[str, Callable[[Any], None]] = {
            "open": self._open,
            "os.listdir": self._list,
            "os.scandir": self._list,
        }
        sys.addaudithook(self._hook)

    def begins(self) -> None:
        """Another run begins."""
        self.began_ns = time.time_ns()

    def states(self) -> dict[str, State] | str:
        """By path what everything is. Where something changed while the run was on, so that
        nobody knows which of it was loaded: its path."""
        states: dict[str, State] = {}
        for path, before in list(self.read.items()):
            if path in self.written:
                continue
            if before is None or state(path) != before:
                return path
            states[path] = before
        for name in set(sys.modules) - self.modules:
            path = getattr(sys.modules.get(name), "__file__", None)
            if path and os.path.isabs(path) and path not in states:
                states[path] = state(path)
                if states[path][0] >= self.began_ns - COARSE_NS:
                    return path
        return states

    def _hook(self, event: str, args: Any) -> None:
        note = self.interest.get(event)
        if note is not None and not self.busy and os.getpid() == self.owner:
            # What the looking itself opens and lists is nobody's.
            self.busy = True
            try:
                note(args)
            finally:
                self.busy = False

    def _open(self, args: Any) -> None:
        path, mode, flags = args
        name = self._own(path)
        if name is None:
            return
        if flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else set("wax+") & set(mode or "r"):
            self.written.add(name)
        else:
            self._note(name)

    def _list(self, args: Any) -> None:
        name = self._own("." if args[0] is None else args[0])
        if name is not None and sys._getframe(2).f_globals.get("__name__") not in FINDERS:
            self._note(name)

    def _note(self, name: str) -> None:
        if name not in self.read:
            found = state(name)
            self.read[name] = None if found[0] > time.time_ns() - COARSE_NS else found

    def _own(self, path: Any) -> str | None:
        """The path, where it is the project's."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        try:
            name = os.path.abspath(os.fsdecode(path))
        except (OSError, ValueError):
            # The current folder is gone, or it is no path.
            return None
        is_own = os.path.join(name, "").startswith(self.root) and not name.endswith(".pyc")
        return name if is_own and OF_TOOLS.isdisjoint(name.split(os.sep)) else None


def by_collection(session: pytest.Session) -> dict[str, State]:
    """Modules and test files of the project, and pytest's settings."""
    outside = tuple(prefix + os.sep for prefix in installed_prefixes())
    paths = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {str(item.path) for item in session.items}
    paths |= files | {os.path.dirname(path) for path in files}
    paths.add(str(session.config.inipath) if session.config.inipath else None)
    real = {os.path.realpath(path) for path in paths if path and not path.startswith("<")}
    return {path: state(path) for path in real if not path.startswith(outside)}


def state(path: str) -> State:
    """Of a folder without what rpt, Python and pytest make there."""
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            entries = frozenset(os.listdir(path)) - OF_TOOLS
            return (0, hash(frozenset(entry for entry in entries if not entry.startswith(CACHE_IN_MAKING))))
    except OSError:
        return (0, -1)
    return (found.st_mtime_ns, found.st_size)


def changed(states: Iterable[tuple[str, State]]) -> str | None:
    """The first that is not what it was."""
    return next((path for path, before in states if state(path) != before), None)
