"""Owns running items in a worker: the loop, and what is said of each test.

Every item goes through `pytest_runtest_protocol` with its real `nextitem`, so
that hooks, wrappers and fixtures of every scope behave as in pytest's own loop.
"""

from __future__ import annotations

import time
import traceback
from typing import Any

import pytest

from rpt_shim import reports, wire
from rpt_shim.board import Board


class Worker:
    """The plugin that is active where tests run."""

    def __init__(self, config: pytest.Config, results: wire.Results, work: wire.Work, board: Board) -> None:
        self.config = config
        self.board = board
        self.results = results
        self.work = work
        self.reported: list[pytest.TestReport] = []
        self.asks_status = _foreign_status_hook(config)

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
        self.results.send("warning", describe_warning(warning_message, when, nodeid))

    def run(self, session: pytest.Session) -> bool:
        """Runs what the dispatcher sends, until its queue ends or the session stops."""
        items = session.items
        while not self.work.ended:
            current = self.work.take()
            while current is not None:
                self.results.send("start", current)
                following = self.work.take()
                nextitem = None if following is None else items[following]
                self._run_one(items[current], nextitem, current)
                if session.shouldfail or session.shouldstop:
                    stopped = session.shouldfail or session.shouldstop
                    self.results.send("stop", bool(session.shouldfail), wire.text(stopped))
                    return True
                current = following
        return True

    def _run_one(self, item: pytest.Item, nextitem: pytest.Item | None, number: int) -> None:
        self.reported = []
        self.board.begins()
        began = time.time()
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        except (KeyboardInterrupt, pytest.exit.Exception) as interrupt:
            kind = "KeyboardInterrupt" if isinstance(interrupt, KeyboardInterrupt) else "pytest.exit"
            reason = wire.text(getattr(interrupt, "msg", None) or str(interrupt))
            code = getattr(interrupt, "returncode", None)
            said = f"{kind}: {reason}" if reason else kind
            self.results.send("interrupt", number, began, self._described(), said, code)
            raise
        except BaseException:
            self.results.send("internal_error", number, wire.text(traceback.format_exc()))
            raise
        reported = self.reported
        if len(reported) == 3 and all(map(reports.is_plain_pass, reported)):
            duration = reported[0].duration + reported[1].duration + reported[2].duration
            self.results.send_bytes(b'["pass",%d,%.6f,%.6f]\n' % (number, began, duration))
        else:
            self.results.send("test", number, began, self._described())

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


def describe_warning(warning_message: Any, when: str, nodeid: str) -> dict[str, Any]:
    """The fields of rpt's Warning."""
    return {
        "when": when,
        "node_id": wire.text(nodeid),
        "file_path": wire.text(warning_message.filename),
        "lineno": warning_message.lineno,
        "category": warning_message.category.__name__,
        "message": wire.text(warning_message.message),
    }


def _foreign_status_hook(config: pytest.Config) -> bool:
    """Whether a plugin that is not pytest's own has a say in report statuses."""
    implementations = config.hook.pytest_report_teststatus.get_hookimpls()
    return any(not getattr(impl.function, "__module__", "").startswith("_pytest.") for impl in implementations)
