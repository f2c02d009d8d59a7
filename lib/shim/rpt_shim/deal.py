"""Owns collecting where the tests run: pytest is started once, and before it collects
anything it is forked for each worker, which then collects the files that it is dealt.
What a whole collection says of itself decides whether that gives the same tests, and
what a worker lacks that the other files' modules would have loaded.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from rpt_shim import dependencies, orphans, relay, sharing, surroundings, wire

if TYPE_CHECKING:
    from rpt_shim.server import Server


def can(server: Server, config: pytest.Config) -> bool:
    """Whether this process need not collect: no plugin hears of tests or has a say in what is
    collected, and no failed test is to be run again at once."""
    waits = relay.somebody_listens(config) or relay.has_summary(config)
    return not (waits or dependencies.foreign_hooks(config) or server.rules["reruns"])


class Meter:
    """Watches a whole collection for what later ones that are dealt need to know."""

    def __init__(self, session: Any, record: dependencies.Dependencies) -> None:
        self.record = record
        #: What was loaded, and made, before the first file.
        self.loaded = set(sys.modules)
        self.made = record.written()
        #: The files that were collected.
        self.files: set[str] = set()
        #: What making tests took, imports aside, in seconds.
        self.made_s = 0.0
        #: Since when tests of a file are made that is imported.
        self.since: float | None = None
        manager = session._fixturemanager
        pytests = manager.parsefactories

        def parsefactories(*args: Any, **kwargs: Any) -> None:
            # The first that pytest does with a module once it is imported.
            __tracebackhide__ = True
            if args and isinstance(args[0], pytest.Module):
                self.since = time.perf_counter()
            pytests(*args, **kwargs)

        manager.parsefactories = parsefactories

    def begins(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.File):
            self.files.add(str(collector.path))
            self.ends()

    def ends(self) -> None:
        if self.since is not None:
            self.made_s += time.perf_counter() - self.since
            self.since = None

    def told(self, session: pytest.Session, has_warnings: bool) -> dict[str, Any] | None:
        """What workers need that collect their own files; None: one process must collect all. Of marks
        about running whoever describes the items knows.

        `divisible_ms`: what making all tests took, without what their files import; `modules`:
        what was imported, in order; `path`: where imports are looked for."""
        modules = self._imported()
        if modules is None or has_warnings or not self._have_one_place():
            return None
        # Two that write at the same time may meet.
        if self.record.written() - self.made or _shares_much(session):
            return None
        path = [wire.text(place) for place in sys.path]
        return {"divisible_ms": self.made_s * 1000, "modules": modules, "path": path}

    def _have_one_place(self) -> bool:
        """Whether all files are imported from the same place of `sys.path`: each worker then has it
        there as soon as it has collected any, and a name leads everywhere to the same module."""
        places = set()
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if path in self.files:
                above = os.path.dirname(path)
                # A package, which pytest 7 collects like a file, is its folder.
                for _ in range(name.count(".") + (os.path.basename(path) == "__init__.py")):
                    above = os.path.dirname(above)
                places.add(above)
        return len(places) == 1

    def _imported(self) -> list[str] | None:
        """What else than test files was imported; None: it cannot be imported again."""
        imported = []
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name in self.loaded or path in self.files or name.startswith("rpt_shim"):
                continue
            spec = getattr(module, "__spec__", None)
            if spec is None or spec.name != name or spec.loader is None or wire.text(name) != name:
                return None
            if path is not None and os.path.basename(path) == "conftest.py":
                # Its hooks and fixtures are there for the files below it alone, and what it does for all.
                return None
            imported.append(name)
        return imported


def _shares_much(session: pytest.Session) -> bool:
    """Whether there is a fixture of package or session scope that is not pytest's own:
    it would be set up once more whenever a worker begins that collects by itself."""
    known = (one for definitions in sharing.definitions(session).values() for one in definitions)
    return any(
        one.scope in ("session", "package")
        and not (getattr(one.func, "__module__", None) or "").startswith(("_pytest.", "rpt_shim."))
        for one in known
    )


class Share:
    """The part of a suite that this process collects and runs."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.files: list[str] = request["files"]
        self.modules: list[str] = request["modules"]
        self.path: list[str] = request["path"]

    def begin(self, session: pytest.Session) -> None:
        """What pytest collects from here on is the share."""
        session.config.pluginmanager.register(dependencies.OnlyFiles(self.files), "rpt-share")

    def complete(self) -> None:
        """Loads what the other files would have loaded, so that tests that rely on it by
        accident find it as they do where one process collects all."""
        for name in self.modules:
            if name not in sys.modules:
                importlib.import_module(name)
        if set(sys.path) <= set(self.path):
            sys.path[:] = self.path


def serve(server: Server, session: pytest.Session) -> bool | None:
    """Answers requests without having collected. True: the session ends; None: this process
    is a fork that collects its share."""
    assert server.control is not None
    server.deals = server.entered = True
    surroundings.outlive(server.control.fileno())
    surroundings.hush_terminal(session.config)
    session.items = []
    server.control.send(server.collected(session))
    server.spared = orphans.children()
    server.serve(session)
    return True if server.share is None else None


def fork(server: Server, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> bool:
    """Makes a worker that collects its share, and then is a server of one client that may
    let it run. True: this process is that worker."""
    assert server.control is not None
    worker = request["worker"]
    surroundings.make_base_temporary_folder(session.config)
    server.adopts = server.adopts or orphans.adopt()
    pid = server.children.fork(worker)
    if pid != 0:
        os.close(fds[0])
        server.control.send({"type": "forked", "worker": worker, "pid": pid})
        return False
    server.forked = True
    server.deals = server.adopts = False
    os.setpgid(0, 0)
    server.control.close()
    server.control = wire.Control(socket.socket(fileno=fds[0]))
    surroundings.die_with(server.control.fileno())
    surroundings.forget_exit_handlers()
    surroundings.own_capture(session.config)
    surroundings.own_fault_handler(session.config)
    server.began = time.perf_counter()
    server.share = Share(request)
    server.share.begin(session)
    return True
