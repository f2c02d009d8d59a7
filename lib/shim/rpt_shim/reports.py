"""Owns what is said of a report. pytest's words and texts, unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from rpt_shim import wire

#: What pytest's own reports have as `when`.
PHASES = ("setup", "call", "teardown")


class Passed:
    """A phase that passed and of which nobody wanted a report: as much of one as is
    read here."""

    __slots__ = ("duration", "when")
    outcome = "passed"
    longrepr = None
    sections = ()

    def __init__(self, when: str, duration: float) -> None:
        self.when = when
        self.duration = duration


def is_plain_pass(report: pytest.TestReport | Passed) -> bool:
    """One of pytest's own, passed, with nothing more to say."""
    return type(report) is Passed or (
        report.outcome == "passed"
        and type(report) is pytest.TestReport
        and report.when in PHASES
        and not hasattr(report, "wasxfail")
        and not (report.user_properties and report.when == "teardown")
    )


def subtest_of(report: pytest.TestReport | Passed) -> str | None:
    """pytest's description of the subtest a report speaks of (pytest 9's own, or
    the pytest-subtests plugin's); None for a report on the test itself."""
    describe = getattr(report, "_sub_test_description", None) or getattr(report, "sub_test_description", None)
    if callable(describe):
        return wire.text(describe())
    # A plugin's report with a `when` of its own speaks of a part of the test.
    return None if report.when in PHASES else f"({wire.text(report.when)})"


def message(report: Any) -> str | None:
    """longrepr as text; a skip's reason without the place."""
    longrepr = report.longrepr
    if longrepr is None:
        return None
    if isinstance(longrepr, tuple):
        return wire.text(longrepr[2])
    return wire.text(report.longreprtext)


def crash(report: Any) -> list[Any] | None:
    """Where a test failed and with what, or where it was skipped: path, 1-based line
    and text, as far as pytest says."""
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        path, lineno, said = longrepr[0], longrepr[1], None
    else:
        found = getattr(longrepr, "reprcrash", None)
        if found is None:
            return None
        path, lineno, said = found.path, found.lineno, wire.text(found.message)
    return [wire.text(path), lineno, said] if type(lineno) is int and lineno >= 0 else None


def describe(report: pytest.TestReport | Passed) -> dict[str, Any]:
    """The fields of rpt's PhaseReport."""
    when = report.when if report.when in PHASES else "call"
    said: dict[str, Any] = {"when": when, "outcome": report.outcome, "duration": report.duration}
    text = message(report)
    if text is not None:
        said["longrepr"] = text
        where = crash(report)
        if where is not None:
            said["crash"] = where
    if hasattr(report, "wasxfail"):
        said["wasxfail"] = wire.text(report.wasxfail)
    subtest = subtest_of(report)
    if subtest is not None:
        said["subtest"] = subtest
    if report.when == "teardown" and getattr(report, "user_properties", None):
        said["properties"] = [[wire.text(name), wire.text(value)] for name, value in report.user_properties]
    if report.sections and not is_plain_pass(report):
        said["sections"] = [[wire.text(title), wire.text(content)] for title, content in report.sections]
    return said
