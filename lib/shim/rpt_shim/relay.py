"""Owns what plugins of the controlling process hear of tests that workers run.

A plugin acts in the process that runs the test, in the process that controls the run, or
in both; pytest-xdist has made that the rule. With workers the server is the controlling
process: reports of workers reach its hooks through pytest's own serialiser, in the order in
which tests end, and only where somebody listens.

Which objects exist in the controlling process alone is told by who registered them: a
`pytest_configure` that asks for `workerinput`. A forked worker has them all the same, and
what they would do at its end is left to the controlling process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import types
from typing import Any

import pytest

from rpt_shim import wire

#: Hooks that hear of tests.
OF_TESTS = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")

#: Hooks of the end.
OF_END = ("pytest_sessionfinish", "pytest_terminal_summary", "pytest_unconfigure")

#: Who hears of tests and needs no relay: pytest's own, told in other ways, and rpt.
DEAF = ("_pytest.main", "_pytest.logging", "_pytest.terminal", "_pytest.cacheprovider", "_pytest.stepwise")

#: Modules whose summary says nothing of single tests.
ABOUT_NO_TEST = ("pytest_cov.plugin",)


class Registrations:
    """The plugin that sees which objects only the controlling process has."""

    def __init__(self) -> None:
        self.controllers: list[Any] = []

    def pytest_plugin_registered(self, plugin: Any) -> None:
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_name != "pytest_configure":
            frame = frame.f_back
        if frame is not None and not isinstance(plugin, types.ModuleType) and _asks(frame.f_code):
            self.controllers.append(plugin)


def _asks(code: types.CodeType) -> bool:
    """Whether a function asks if it is in a worker."""
    return "workerinput" in code.co_consts or "workerinput" in code.co_names


def somebody_listens(config: pytest.Config) -> bool:
    """Whether a plugin hears of tests, or sums them up."""
    for name in OF_TESTS:
        if any(_is_foreign(impl, DEAF) for impl in getattr(config.hook, name).get_hookimpls()):
            return True
    # pytest's own summary belongs to the terminal; rpt has one.
    summaries = config.hook.pytest_terminal_summary.get_hookimpls()
    return any(_is_foreign(impl, ("_pytest.", *ABOUT_NO_TEST)) for impl in summaries)


def has_summary(config: pytest.Config) -> bool:
    """Whether a plugin has something to say at the end."""
    return any(_is_foreign(impl, ("_pytest.",)) for impl in config.hook.pytest_terminal_summary.get_hookimpls())


def _is_foreign(impl: Any, known: tuple[str, ...]) -> bool:
    module = getattr(impl.function, "__module__", None) or ""
    return not module.startswith(("rpt_shim", "xdist", *known))


def leave_to_controller(config: pytest.Config, controllers: list[Any]) -> None:
    """In a forked worker: what is the controlling process's alone does nothing here."""
    for plugin in controllers:
        for name in (*OF_TESTS, *OF_END):
            with contextlib.suppress(ValueError):
                getattr(config.hook, name)._remove_plugin(plugin)


def serialised(config: pytest.Config, report: Any, more: dict[str, Any]) -> dict[str, Any]:
    """A report as pytest's own serialiser has it, and as JSON can hold it."""
    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    if data is None:
        return {}
    # pytest-subtests says it in its own way.
    if "_report_type" in data:
        data["$report_type"] = data.pop("_report_type")
    data.update(more)
    for name, value in data.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            data[name] = wire.text(value)
    return data


def _as_it_was(data: dict[str, Any]) -> dict[str, Any]:
    """JSON makes lists of tuples."""
    for name in ("longrepr", "location"):
        if isinstance(data.get(name), list):
            data[name] = tuple(data[name])
    for name in ("sections", "user_properties"):
        data[name] = [tuple(pair) for pair in data.get(name) or ()]
    return data


class Node:
    """As much of xdist's WorkerController as plugins look at."""

    #: pytest puts no line about the worker into a report's text.
    _workerinfocache = ""

    def __init__(self, config: Any, worker: str) -> None:
        self.config = config
        self.gateway = types.SimpleNamespace(id=worker)
        self.workerinput = {"workerid": worker}
        self.workeroutput: dict[str, Any] = {}


class Relay:
    """The server's end of the pipe through which reports come."""

    def __init__(self, session: pytest.Session, fd: int) -> None:
        self.session = session
        self.config: Any = session.config
        self.fd = fd
        self.unread = b""
        self.nodes: dict[str, Any] = {}
        #: What a plugin raised, which ends the session as it would end pytest's.
        self.broke: BaseException | None = None

    def fileno(self) -> int:
        return self.fd

    def read(self) -> bool:
        """Hands on what came. False: nothing comes any more."""
        part = os.read(self.fd, 1 << 16)
        if not part:
            os.close(self.fd)
            return False
        *lines, self.unread = (self.unread + part).split(b"\n")
        for line in lines:
            self._hand_on(json.loads(line))
        return True

    def _hand_on(self, said: dict[str, Any]) -> None:
        if self.broke is not None:
            return
        if "ended" in said:
            self._worker_ended(said["ended"], wire.unpacked(said["output"]))
            return
        item: Any = self.session.items[said["item"]]
        hook = self.config.hook
        try:
            hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for data in said["reports"]:
                report = hook.pytest_report_from_serializable(config=self.config, data=_as_it_was(data))
                if report is None:
                    continue
                report.node = self._node(said["worker"])
                hook.pytest_runtest_logreport(report=report)
                self._count(report)
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        except BaseException as error:
            self.broke = error

    def _count(self, report: Any) -> None:
        """Plugins read the terminal reporter's counts."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        status = self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        if reporter is not None and status:
            reporter._add_stats(status[0], [report])

    def _node(self, worker: str) -> Any:
        if worker not in self.nodes:
            self.nodes[worker] = Node(self.config, worker)
        return self.nodes[worker]

    def _worker_ended(self, worker: str, output: dict[str, Any]) -> None:
        """What a worker's plugins left for the controlling process."""
        node = self._node(worker)
        node.workeroutput = output
        hook = getattr(self.config.hook, "pytest_testnodedown", None)
        if hook is None:
            return
        try:
            hook(node=node, error=None)
        except BaseException as error:
            self.broke = error


def summary(config: Any, exitstatus: int) -> str:
    """What plugins write at the end, below pytest's own part of it."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        return ""
    implementations = config.hook.pytest_terminal_summary.get_hookimpls()
    own = [impl.plugin for impl in implementations if not _is_foreign(impl, ("_pytest.",))]
    caller = config.pluginmanager.subset_hook_caller("pytest_terminal_summary", own)
    written, reporter._tw._file = reporter._tw._file, io.StringIO()
    try:
        caller(terminalreporter=reporter, exitstatus=exitstatus, config=config)
        return wire.text(reporter._tw._file.getvalue())
    finally:
        reporter._tw._file = written
