"""Owns what a collection came to beside its items, and what a server says of it to whoever comes."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest

from rpt_shim import cache, parts, relay, reports, standing, wire

#: Modules whose threads or devices do not survive a fork.
FORK_HOSTILE = ("polars", "grpc", "jpype", "tensorflow", "jax", "ray")


class Findings:
    """Of one session."""

    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []
        self.skipped_files: list[dict[str, str]] = []
        self.warnings: list[dict[str, Any]] = []
        self.deselected = 0
        #: Reports of collectors.
        self.reports: list[pytest.CollectReport] = []

    def counted(self) -> tuple[int, int, int, int]:
        """How much there is that people are told of."""
        return len(self.errors), len(self.skipped_files), len(self.warnings), self.deselected

    def add(self, report: pytest.CollectReport) -> None:
        self.reports.append(report)
        if report.failed:
            path = report.nodeid or getattr(report, "fspath", "") or "."
            self.errors.append({"file_path": wire.text(path), "message": reports.message(report) or ""})
        elif report.skipped:
            self.skipped_files.append({"file_path": wire.text(report.nodeid), "message": reports.message(report) or ""})

    def said(
        self, session: pytest.Session, duration_s: float, options: list[str], rules: dict[str, Any]
    ) -> dict[str, Any]:
        """The fields of rpt's Collected."""
        config = session.config
        option = config.option
        return {
            "type": "collected",
            "pid": os.getpid(),
            "count": len(session.items),
            "errors": self.errors,
            "skipped_files": self.skipped_files,
            "warnings": self.warnings,
            "deselected": self.deselected,
            "duration_ms": duration_s * 1000,
            "rootdir": wire.text(config.rootpath),
            "inipath": wire.text(config.inipath) if config.inipath else None,
            "options": options,
            "python_version": "%d.%d.%d" % sys.version_info[:3],
            "pytest_version": pytest.__version__,
            "holds_failures": cache.holds_failures(config),
            "refused": _refused(option),
            "live_output": option.capture in ("no", "tee-sys"),
            "maxfail": option.maxfail or 0,
            "continue_on_collection_errors": bool(option.continue_on_collection_errors),
            "fork_hazards": _fork_hazards(),
            "rules": rules,
            "listens": relay.somebody_listens(config),
            "has_summary": relay.has_summary(config),
            "ends_itself": standing.ends_itself(config),
            "randomly_seed": parts.seed(option),
            "notes": parts.notes(config, session.items),
        }


def _refused(option: Any) -> list[str]:
    """Options that mean something else, or nothing, where workers run the tests."""
    present = {
        "--collect-only": getattr(option, "collectonly", False),
        "--pdb": getattr(option, "usepdb", False),
        "--trace": getattr(option, "trace", False),
        "--stepwise": getattr(option, "stepwise", False),
    }
    return [name for name, value in present.items() if value]


def _fork_hazards() -> list[str]:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    hazards = [f"thread {wire.text(name)}" for name in others]
    hazards += [f"module {name}" for name in FORK_HOSTILE if name in sys.modules]
    cuda = sys.modules.get("torch.cuda")
    if cuda is not None and cuda.is_initialized():
        hazards.append("CUDA in use")
    return hazards
