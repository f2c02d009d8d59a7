"""Owns running items in a worker: the loop, and what is said of each test.

Every item goes through `pytest_runtest_protocol` with its real `nextitem`, so
that hooks, wrappers and fixtures of every scope behave as in pytest's own loop; or,
where it is known that nobody can tell the difference, through `light`.
"""

from __future__ import annotations

import atexit
import json
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from rpt_shim import light, relay, reports, wire
from rpt_shim.board import Board
from rpt_shim.leaks import Leaks
from rpt_shim.light import Light

if TYPE_CHECKING:
    from rpt_shim.resident import Resident

#: The scopes whose fixtures many tests share, and their places in what is said of them.
SHARED_SCOPES = {"module": 0, "package": 0, "session": 1}

#: What is less than this, in seconds, is not worth a message.
NOTABLE_S = 0.001


class Worker:
    """The plugin that is active where tests run."""

    def __init__(
        self,
        config: pytest.Config,
        results: wire.Results,
        work: wire.Work,
        board: Board,
        protocol: str = "full",
    ) -> None:
        """`protocol`: `full`, or `auto` and `light` for the light one where an item
        qualifies, `light` also with versions of pytest it was not tested with."""
        self.config = config
        self.board = board
        self.results = results
        self.work = work
        self.reported: list[pytest.TestReport | reports.Passed] = []
        #: What is said with the next thing that must be said at once.
        self.unsaid = b""
        #: What shared fixtures took to set up in the current item, in seconds, by place.
        self.set_up = [0.0, 0.0]
        #: How much of the set-up that goes on is that of fixtures it asked for.
        self.nested = 0.0
        #: Looks for what tests leave behind, where that is asked for.
        self.leaks: Leaks | None = None
        #: Its session goes on after the run.
        self.resident: Resident | None = None
        self.asks_status = _foreign_status_hook(config)
        #: pytest's own reports are said, too.
        self.hands_on = False
        #: How many items took the full protocol for which reason; None: the light one.
        self.took: dict[str | None, int] = {}
        #: How many exit handlers there are before its first test.
        self.exit_handlers = 0
        #: Nothing that its tests left behind can be heard when it is taken apart.
        self.left_no_voice = False
        self.follow(protocol)

    def follow(self, protocol: str) -> None:
        """How it runs its items from here on."""
        #: Of the session, why no item takes the light protocol.
        self.refusal = "--protocol full"
        self.light: Light | None = None
        if protocol != "full":
            self.refusal = light.refusal_of_session(self.config, untested=protocol == "light")
        if self.refusal is None:
            self.light = Light(self.config, self.board, self.asks_status)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported.append(report)
        self.board.reported(report)
        # pytest 9 turns a test failed because of its subtests while the terminal
        # asks for the report's status; plugins may do the like.
        if self.asks_status or len(self.reported) > 3 or not reports.is_plain_pass(report):
            self.config.hook.pytest_report_teststatus(report=report, config=self.config)

    def pytest_warning_recorded(
        self, warning_message: Any, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        self.results.send("warning", describe_warning(warning_message, when, nodeid, location))

    def hand_reports_on(self) -> None:
        """Somebody wants pytest's own reports of every test."""
        self.hands_on = True
        if self.light is not None:
            self.light.asks_status = True

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        place = SHARED_SCOPES.get(fixturedef.scope)
        if place is None:
            yield
            return
        outer, self.nested = self.nested, 0.0
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self.set_up[place] += took - self.nested
        self.nested = outer + took

    def run(self, session: pytest.Session) -> bool:
        """Runs what the dispatcher sends, until its queue ends or the session stops."""
        self.exit_handlers = atexit._ncallbacks()
        try:
            return self._run_all(session)
        finally:
            # First: what follows may fail where a test closed what it needs.
            self._say(b"")
            if self.light is not None:
                self.light.park()
            self.results.send("protocol", list(self.took.items()))
            self.results.send("waited", self.work.waited)

    def _run_all(self, session: pytest.Session) -> bool:
        items = session.items
        while not self.work.ended:
            current = self.work.take()
            while current is not None:
                self._say(b'["start",%d]\n' % current)
                following = self._take_next(current)
                nextitem = self._after(items[current]) if following is None else items[following]
                self._run_one(items[current], nextitem, current)
                if session.shouldfail or session.shouldstop:
                    stopped = session.shouldfail or session.shouldstop
                    self._say(wire.line("stop", bool(session.shouldfail), wire.text(stopped)))
                    return True
                if following is None:
                    # It may wait for long now.
                    self._say(b"")
                current = following
        return True

    def _after(self, item: pytest.Item) -> pytest.Item | None:
        return None if self.resident is None else self.resident.pause(item)

    def _take_next(self, current: int) -> int | None:
        """What follows `current`, which has begun: it is the one that is interrupted."""
        try:
            return self.work.take()
        except KeyboardInterrupt as interrupt:
            self.reported = []
            self._say_interrupt(current, time.time(), interrupt)
            raise

    def _say(self, line: bytes) -> None:
        """Says a line, and what was left unsaid before, with one system call."""
        # Forgotten first: said twice it would be said of a test that has ended, if a signal
        # interrupts between the two.
        said, self.unsaid = self.unsaid + line, b""
        self.results.send_bytes(said)

    def _run_one(self, item: pytest.Item, nextitem: pytest.Item | None, number: int) -> None:
        self.reported = []
        if self.resident is not None:
            self.resident.remember(item)
        self.board.begins()
        self.set_up = [0.0, 0.0]
        self.nested = 0.0
        began = time.time()
        try:
            self._run_protocol(item, nextitem)
        except (KeyboardInterrupt, pytest.exit.Exception) as interrupt:
            self._say_set_up()
            self._say_reports(number)
            self._say_interrupt(number, began, interrupt)
            raise
        except BaseException:
            self._say(wire.line("internal_error", number, wire.text(traceback.format_exc())))
            raise
        self._say_set_up()
        if self.leaks is not None and self.leaks.found:
            self._say(wire.line("leaks", number, self.leaks.found))
        self._say_reports(number)
        reported = self.reported
        if len(reported) == 3 and all(map(reports.is_plain_pass, reported)):
            duration = reported[0].duration + reported[1].duration + reported[2].duration
            # Said with the begin of the next test, which follows at once.
            self.unsaid = b'["pass",%d,%.6f,%.6f]\n' % (number, began, duration)
        else:
            self._say(wire.line("test", number, began, self._described()))

    def _run_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        refusal = self.refusal if self.light is None else self.light.refusal(item)
        self.took[refusal] = self.took.get(refusal, 0) + 1
        if refusal is None and self.light is not None:
            self.light.run(item, nextitem, self.reported)
            return
        if self.light is not None:
            self.light.park()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)

    def _say_interrupt(self, number: int, began: float, interrupt: BaseException) -> None:
        kind = "KeyboardInterrupt" if isinstance(interrupt, KeyboardInterrupt) else "pytest.exit"
        reason = wire.text(getattr(interrupt, "msg", None) or str(interrupt))
        said = f"{kind}: {reason}" if reason else kind
        code = getattr(interrupt, "returncode", None)
        self._say(wire.line("interrupt", number, began, self._described(), said, code))

    def _say_reports(self, number: int) -> None:
        if not self.hands_on:
            return
        workerinput = getattr(self.config, "workerinput", {})
        names = {"workerid": "worker_id", "testrunuid": "testrun_uid"}
        more = {names[name]: value for name, value in workerinput.items() if name in names}
        said = [relay.serialised(self.config, report, {"item_index": number, **more}) for report in self.reported]
        # Escaped: texts in them did not go through `wire.text`.
        self._say(b'["reports",%d,%s]\n' % (number, json.dumps(said).encode("ascii")))

    def _say_set_up(self) -> None:
        if max(self.set_up) >= NOTABLE_S:
            self._say(wire.line("set_up", *self.set_up))

    def _described(self) -> list[dict[str, Any]]:
        """The reports, with passing subtests only counted: there can be thousands."""
        described = []
        passing_subtests = 0
        for report in self.reported:
            said = reports.describe(report)
            if "subtest" in said and said["outcome"] == "passed":
                passing_subtests += 1
            else:
                described.append(said)
        if passing_subtests and described:
            described[-1]["passing_subtests"] = passing_subtests
        return described


def ready(session: pytest.Session) -> Worker:
    """One that knows no run yet."""
    return Worker(session.config, wire.Results(-1), wire.Work(0), Board())


def join(session: pytest.Session, worker: Worker) -> None:
    """It takes part in the session from here on, and is told of all warnings that there were."""
    session.config.pluginmanager.register(worker, "rpt-worker")
    session.config.pluginmanager.register(worker.board, "rpt-board")


def describe_warning(
    warning_message: Any, when: str, nodeid: str, location: tuple[str, int, str] | None
) -> dict[str, Any]:
    """The fields of rpt's Warning."""
    return {
        "when": when,
        "node_id": wire.text(nodeid),
        "file_path": wire.text(warning_message.filename),
        "lineno": warning_message.lineno,
        "category": warning_message.category.__name__,
        "message": wire.text(warning_message.message),
        "location": None if location is None else [wire.text(location[0]), location[1], wire.text(location[2])],
    }


def _foreign_status_hook(config: pytest.Config) -> bool:
    """Whether a plugin that is not pytest's own has a say in report statuses."""
    implementations = config.hook.pytest_report_teststatus.get_hookimpls()
    return any(not getattr(impl.function, "__module__", "").startswith("_pytest.") for impl in implementations)
