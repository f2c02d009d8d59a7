"""Owns the light protocol: an item's set-up, call and tear-down through pytest's own
SetupState, fixtures and `runtest`, without the work that pytest's own plugins do
around each phase for the case that something happens.

Where something does happen (an exception, output, a log record, a warning), pytest's
own code makes of it what it always makes. An item qualifies only where everybody who
takes part in running it is known: see `Light.refusal`. What a function stands for is
named in its description, in the order in which pytest calls it.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any, Callable

import pytest
from _pytest import assertion, runner, skipping, tmpdir
from _pytest import logging as pytest_logging
from _pytest._code import ExceptionInfo

from rpt_shim import quiet, reports, versions
from rpt_shim.board import Board

#: Marks by which a test may come to another end than its own.
MARKS = frozenset(("skip", "skipif", "xfail", "filterwarnings"))

#: Modules that implement the hooks that are stood for, in the order in which pytest
#: calls them: these and nobody else.
STOOD_FOR = {
    "pytest_runtest_protocol": ("warnings", "assertion", "unittest", "faulthandler", "runner"),
    "pytest_runtest_setup": ("logging", "capture", "skipping", "runner", "unraisableexception", "threadexception"),
    "pytest_runtest_call": ("logging", "capture", "skipping", "runner", "unraisableexception", "threadexception"),
    "pytest_runtest_teardown": ("logging", "capture", "runner", "unraisableexception", "threadexception"),
}

#: Modules to which it makes no difference whether they hear of a phase that passed,
#: or of a test's begin and end.
UNMOVED = {
    "pytest_runtest_makereport": ("tmpdir", "skipping", "unittest", "runner"),
    "pytest_runtest_logreport": ("main", "logging", "terminal", "cacheprovider", "rpt_shim.worker"),
    "pytest_runtest_logstart": ("logging", "terminal"),
    "pytest_runtest_logfinish": ("logging", "terminal"),
}

#: Options that show or change how phases run.
OPTIONS = ("fulltrace", "setupshow", "setuponly", "setupplan", "usepdb", "trace")


def refusal_of_session(config: pytest.Config, untested: bool) -> str | None:
    """Why no item of the session qualifies, if none does. `untested`: no matter
    whether pytest is one of the tested versions."""
    if not versions.is_tested() and not untested:
        return f"pytest {pytest.__version__} is not among the tested versions"
    if getattr(warnings, "_filters_mutated", None) is None:
        return "Python's warnings work in another way"
    option = config.option
    for name in OPTIONS:
        if getattr(option, name, False):
            return f"option {name}"
    if option.tbstyle == "native":
        return "option --tb=native"
    if option.capture not in ("fd", "sys"):
        return f"option --capture={option.capture}"
    manager = config.pluginmanager
    for name in ("capturemanager", "logging-plugin", "warnings", "faulthandler", "unraisableexception"):
        if not manager.hasplugin(name):
            return f"plugin {name} is switched off"
    logs: Any = manager.getplugin("logging-plugin")
    if logs._log_cli_enabled() or logs.log_level is not None:
        return "log_cli or log_level is configured"
    if float(config.getini("faulthandler_timeout") or 0.0) > 0:
        return "faulthandler_timeout is configured"
    return None


class Light:
    """The light protocol in one worker."""

    def __init__(self, config: pytest.Config, board: Board, asks_status: bool) -> None:
        from _pytest import threadexception, unraisableexception

        self.config: Any = config
        self.manager: Any = config.pluginmanager
        self.board = board
        #: Somebody has a say in a report's status.
        self.asks_status = asks_status
        #: By an item's file: why its items do not qualify, whether somebody wants reports, and its hooks.
        self.files: dict[Any, tuple[str | None, bool, Any]] = {}
        #: How many plugins there were when that was found.
        self.plugins = 0
        self.output = quiet.Output(config)
        self.logs = quiet.Logs(config)
        self.warnings = quiet.Warnings(config)
        #: What was raised where nobody could catch it, and pytest's function that raises it again.
        self.uncaught = (
            (config.stash[unraisableexception.unraisable_exceptions], unraisableexception.collect_unraisable),
            (config.stash[threadexception.thread_exceptions], threadexception.collect_thread_exception),
        )
        #: Of the item that runs: its nodes, and how many marks they had at the begin.
        self.chain: list[Any] = []
        self.marks = 0
        #: Nobody looks between its phases.
        self.unseen = False

    def refusal(self, item: pytest.Item) -> str | None:
        """Why `item` does not qualify; None where it does. Asked right before it runs."""
        if type(item) is not pytest.Function:
            return f"{type(item).__name__} is no plain function"
        if len(self.manager._name2plugin) != self.plugins:
            self.plugins = len(self.manager._name2plugin)
            self.files.clear()
        known = self.files.get(item.path)
        if known is None:
            known = self.files[item.path] = self._refusal_of_file(item.ihook)
        if known[0] is not None:
            return known[0]
        self.chain = item.listchain()
        self.marks = 0
        for node in self.chain:
            for mark in node.own_markers:
                self.marks += 1
                if mark.name in MARKS:
                    return f"mark {mark.name}"
        return None

    def _refusal_of_file(self, hooks: Any) -> tuple[str | None, bool, Any]:
        if "twisted.trial.unittest" in sys.modules:
            return "twisted is loaded", False, hooks
        for method in (pytest.Function.setup, pytest.Function.teardown):
            if not method.__module__.startswith("_pytest."):
                return f"{method.__qualname__} is not pytest's own", False, hooks
        for name, known in STOOD_FOR.items():
            found = _implementations(hooks, name)
            if found != known:
                foreign = [module for module in found if module not in known]
                reason = f"{name} of {', '.join(foreign)}" if foreign else f"{name} is not pytest's own"
                return reason, False, hooks
        listeners = (set(_implementations(hooks, name)) - set(known) for name, known in UNMOVED.items())
        return None, self.asks_status or any(listeners), hooks

    def run(self, item: Any, nextitem: pytest.Item | None, reported: list[Any]) -> None:
        """Runs an item that qualifies, which `refusal` has just said. Phases that
        passed and of which nobody wants a report are put into `reported`; reports
        get there through `pytest_runtest_logreport`.

        Stands for pytest_runtest_protocol (warnings, assertion, runner)."""
        _, wanted, hooks = self.files[item.path]
        self.unseen = not wanted
        self.warnings.begin()
        try:
            hooks_of_assert = assertion.pytest_runtest_protocol(item)
            next(hooks_of_assert)
            try:
                if wanted:
                    self._leave()
                    hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                self._phases(item, nextitem, hooks, wanted, reported)
                if wanted:
                    self._leave()
                    hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            finally:
                hooks_of_assert.close()
        except BaseException:
            self._leave()
            raise
        finally:
            self.warnings.end(item, hooks)

    def park(self) -> None:
        """Leaves everything as it is between two items."""
        self._leave()
        self.warnings.park()

    def _leave(self) -> None:
        """Leaves everything as it is between two phases."""
        self.output.park()
        self.logs.park()

    def _phases(self, item: Any, nextitem: pytest.Item | None, hooks: Any, wanted: bool, reported: list[Any]) -> None:
        """Stands for runner.runtestprotocol."""
        if not item._request:
            item._initrequest()
        try:
            if self._phase("setup", self._setup, item, None, hooks, wanted, reported):
                self._phase("call", self._call, item, None, hooks, wanted, reported)
            if item.session.shouldfail or item.session.shouldstop:
                nextitem = None
            self._phase("teardown", self._teardown, item, nextitem, hooks, wanted, reported)
        finally:
            item._request = False
            item.funcargs = None

    def _phase(
        self,
        when: Any,
        body: Callable[[Any, Any], None],
        item: Any,
        nextitem: pytest.Item | None,
        hooks: Any,
        wanted: bool,
        reported: list[Any],
    ) -> bool:
        """Whether the phase passed. Stands for runner.call_and_report."""
        excinfo = None
        start, began = time.time(), time.perf_counter()
        try:
            body(item, nextitem)
        except BaseException:
            excinfo = ExceptionInfo.from_current()
            if isinstance(excinfo.value, (pytest.exit.Exception, KeyboardInterrupt)):
                raise
        duration = time.perf_counter() - began
        told = wanted or item.user_properties
        if excinfo is None and not told and item.stash[skipping.xfailed_key] is None:
            # tmpdir.pytest_runtest_makereport
            item.stash.setdefault(tmpdir.tmppath_result_key, {})[when] = True
            passed = reports.Passed(when, duration)
            self.board.reported(passed)
            reported.append(passed)
            return True
        self._leave()
        call: Any = runner.CallInfo(None, excinfo, start, start + duration, duration, when, _ispytest=True)
        report = hooks.pytest_runtest_makereport(item=item, call=call)
        hooks.pytest_runtest_logreport(report=report)
        if runner.check_interactive_exception(call, report):
            hooks.pytest_exception_interact(node=item, call=call, report=report)
        return report.passed

    def _setup(self, item: Any, _nextitem: None) -> None:
        """Stands for pytest_runtest_setup."""
        item.stash[pytest_logging.caplog_records_key] = {}
        if self.unseen and _sets_nothing_up(item):
            item.stash[pytest_logging.caplog_handler_key] = self.logs.handlers[0]
            item.stash[skipping.xfailed_key] = None
            item.session._setupstate.setup(item)
            self._raise_uncaught()
            return
        self.logs.begin(item, "setup")
        try:
            self.output.begin()
            try:
                # It has no mark that skipping looks for.
                item.stash[skipping.xfailed_key] = None
                runner.pytest_runtest_setup(item)
                self._raise_uncaught()
            finally:
                self.output.end(item, "setup")
        finally:
            self.logs.end(item, "setup")

    def _call(self, item: Any, _nextitem: None) -> None:
        """Stands for pytest_runtest_call."""
        self.logs.begin(item, "call")
        try:
            self.output.begin()
            try:
                self._look_for_xfail(item)
                xfailed = item.stash[skipping.xfailed_key]
                if xfailed and not self.config.option.runxfail and not xfailed.run:
                    raise pytest.xfail.Exception("[NOTRUN] " + xfailed.reason, pytrace=False)
                try:
                    runner.pytest_runtest_call(item)
                    self._raise_uncaught()
                finally:
                    self._look_for_xfail(item)
            finally:
                self.output.end(item, "call")
        finally:
            self.logs.end(item, "call")

    def _teardown(self, item: Any, nextitem: pytest.Item | None) -> None:
        """Stands for pytest_runtest_teardown."""
        try:
            if self.unseen and _tears_nothing_down(item, nextitem):
                item.session._setupstate.teardown_exact(nextitem)
                # runner.pytest_runtest_teardown
                os.environ.pop("PYTEST_CURRENT_TEST", None)
                self._raise_uncaught()
                return
            self.logs.begin(item, "teardown")
            try:
                self.output.begin()
                try:
                    runner.pytest_runtest_teardown(item, nextitem)
                    self._raise_uncaught()
                finally:
                    self.output.end(item, "teardown")
            finally:
                self.logs.end(item, "teardown")
        finally:
            del item.stash[pytest_logging.caplog_records_key]
            del item.stash[pytest_logging.caplog_handler_key]

    def _look_for_xfail(self, item: Any) -> None:
        """A fixture or the test itself may have added the mark meanwhile."""
        added = sum(len(node.own_markers) for node in self.chain) != self.marks
        if added and item.stash[skipping.xfailed_key] is None:
            item.stash[skipping.xfailed_key] = skipping.evaluate_xfail_marks(item)

    def _raise_uncaught(self) -> None:
        for queue, raise_all in self.uncaught:
            if queue:
                raise_all(self.config)


def _sets_nothing_up(item: Any) -> bool:
    """Whether nobody's code runs while the item is set up: it has no fixtures and no set-up of
    its own, and what it stands in is set up already. Then nothing can be printed or logged."""
    stack = item.session._setupstate.stack
    return not item.fixturenames and next(reversed(stack), None) is item.parent and "setup" not in vars(item)


def _tears_nothing_down(item: Any, nextitem: Any) -> bool:
    """Whether nobody's code runs while the item is torn down: it has no finalizers but its own
    end, and what it stands in is needed next."""
    if nextitem is None or nextitem.parent is not item.parent:
        return False
    finalizers, _ = item.session._setupstate.stack.get(item, ((), None))
    return len(finalizers) == 1 and "teardown" not in vars(item)


def _implementations(hooks: Any, name: str) -> tuple[str, ...]:
    """The modules that implement the hook `name`, in the order in which they are called."""
    modules = (impl.function.__module__ for impl in reversed(getattr(hooks, name).get_hookimpls()))
    return tuple(module.removeprefix("_pytest.") for module in modules)
