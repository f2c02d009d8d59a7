"""Runs plain pytest and writes what it reported as one JSON document.

    python scripts/plain_pytest.py OUT.json [PYTEST_ARGS...]

This is the judge's side of every comparison. It shares nothing with rpt: one
small plugin writes down collection and reports, and `outcome_of` reads them by
the rules of the README's table, in its own words. Standard library and pytest.

The document: `pytest` (version), `exit_code`, `collected` (ids in order, after
deselection), `deselected` (a count), `collect_errors` ([{node_id, message}]) and
`tests` ([{node_id, outcome, when, message, wasxfail, sections}] in the order in
which they ran; a test that was collected and not run stands at the end as
`not_run`).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest


def outcome_of(reports: list[dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    """The one outcome of a test, and the report that says so.

    A failed call (or subtest) is worst, then a failed set-up or tear-down, then
    what the call says, then a set-up that skipped.
    """
    phases = [report for report in reports if report["subtest"] is None]
    failed_parts = [report for report in reports if report["when"] == "call" and report["outcome"] == "failed"]
    failed_around = [report for report in phases if report["when"] != "call" and report["outcome"] == "failed"]
    calls = [report for report in phases if report["when"] == "call"]
    stopped_setups = [report for report in phases if report["when"] == "setup" and report["outcome"] != "passed"]
    # Only the first failure decides: pytest calls a test whose call failed "failed",
    # whatever its tear-down does afterwards.
    failures = sorted(failed_parts + failed_around, key=reports.index)
    if failures:
        first = failures[0]
        return ("failed" if first["when"] == "call" else "error"), first
    for report in calls + stopped_setups:
        expected = report["wasxfail"] is not None
        if report["outcome"] == "skipped":
            return ("xfailed" if expected else "skipped"), report
        if report["outcome"] == "passed":
            return ("xpassed" if expected else "passed"), report
        raise ValueError(f"unknown outcome {report['outcome']!r}")
    return "not_run", None


def carried(value: Any) -> Any:
    """The same document with lone surrogates, which UTF-8 cannot carry, escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: carried(member) for key, member in value.items()}
    if isinstance(value, list):
        return [carried(member) for member in value]
    return value


class Recorder:
    """Writes down what pytest reports; changes nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.collected: list[str] = []
        self.deselected = 0
        self.collect_errors: list[dict[str, str]] = []
        self.runs: list[tuple[str, list[dict[str, Any]]]] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.collect_errors.append({"node_id": report.nodeid, "message": str(report.longrepr)})

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected = [item.nodeid for item in session.items]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.runs.append((nodeid, []))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # The classes of subtests differ between pytest 9 and the plugin before it;
        # the attribute is the same.
        subtest = getattr(report, "context", None)
        skipped_at = report.longrepr if isinstance(report.longrepr, tuple) else None
        self.runs[-1][1].append(
            {
                "when": report.when,
                "outcome": report.outcome,
                "wasxfail": getattr(report, "wasxfail", None),
                "subtest": None if subtest is None else repr(subtest),
                "message": skipped_at[2] if skipped_at else (report.longreprtext or None),
                "sections": [list(section) for section in report.sections],
            }
        )

    def document(self, exit_code: int) -> dict[str, Any]:
        tests = []
        left = list(self.collected)
        for node_id, reports in self.runs:
            outcome, report = outcome_of(reports)
            report = report or {}
            tests.append(
                {
                    "node_id": node_id,
                    "outcome": outcome,
                    "when": report.get("when"),
                    "message": report.get("message"),
                    "wasxfail": report.get("wasxfail"),
                    "sections": reports[-1]["sections"] if reports else [],
                }
            )
            if node_id in left[:1]:
                left.pop(0)
            elif node_id in left:
                left.remove(node_id)
        for node_id in left:
            tests.append(
                {
                    "node_id": node_id,
                    "outcome": "not_run",
                    "when": None,
                    "message": None,
                    "wasxfail": None,
                    "sections": [],
                }
            )
        return {
            "pytest": pytest.__version__,
            "exit_code": int(exit_code),
            "collected": self.collected,
            "deselected": self.deselected,
            "collect_errors": self.collect_errors,
            "tests": tests,
        }


def main() -> int:
    path, arguments = sys.argv[1], sys.argv[2:]
    # As with the `pytest` command, the folder of this script is not importable.
    sys.path.pop(0)
    sys.argv = ["pytest", *arguments]
    recorder = Recorder(path)
    exit_code = pytest.main(arguments, plugins=[recorder])
    with open(path, "w", encoding="utf-8") as file:
        json.dump(carried(recorder.document(exit_code)), file, ensure_ascii=False)
    return int(exit_code)


if __name__ == "__main__":
    sys.exit(main())
