"""Owns plugins whose part in a worker differs from that in the controlling process and who
ask pytest-xdist, not pytest, which of the two they are in: a forked worker is told here.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest


def controls(config: pytest.Config) -> None:
    """In the process that collects, before it is configured: it may control a run."""
    syrupy = sys.modules.get("syrupy")
    if syrupy is not None and config.pluginmanager.is_registered(syrupy) and hasattr(syrupy, "DeferXDist"):
        config.pluginmanager.register(TakesIn(syrupy.DeferXDist()), "rpt-syrupy")


class TakesIn:
    """syrupy's way to take in what workers compared, which it registers only beside xdist."""

    def __init__(self, deferred: Any) -> None:
        self.deferred = deferred

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        self.deferred.pytest_testnodedown(node, error)


def works(config: Any) -> None:
    """In a forked worker."""
    _measures(config)
    _compares(config)
    benchmarks = getattr(config, "_benchmarksession", None)
    if benchmarks is not None:
        # As beside pytest-xdist: what runs beside other tests takes as long as they let it.
        benchmarks.disabled = True


def notes(config: pytest.Config, items: list[pytest.Item]) -> list[tuple[int, str]]:
    """What of these tests cannot be right from so many workers on, and why."""
    found = []
    manager = config.pluginmanager
    if _is_there(manager, "pytest_benchmark.plugin", "benchmark") and any(
        "benchmark" in getattr(item, "fixturenames", ()) for item in items
    ):
        found.append((1, "pytest-benchmark measures nothing with workers, as beside pytest-xdist: use -n 0"))
    if _is_there(manager, "pytest_dependency", "dependency"):
        marks = ((item, item.get_closest_marker("dependency")) for item in items)
        depend = (item for item, mark in marks if mark is not None and mark.kwargs.get("depends"))
        if any(item.get_closest_marker("xdist_group") is None for item in depend):
            found.append(
                (2, "pytest-dependency knows tests of one worker only: give those that need each other one xdist_group")
            )
    if _is_there(manager, "pytest_order.plugin", "pytest_order", "order") and any(
        item.get_closest_marker("order") is not None for item in items
    ):
        found.append((2, "pytest-order's order holds on one worker only: use -n 1 where it matters"))
    return found


def seed(option: Any) -> int | None:
    """pytest-randomly's, where it is there."""
    found = getattr(option, "randomly_seed", None)
    return found if isinstance(found, int) and abs(found) < 1 << 63 else None


def _is_there(manager: Any, *names: str) -> bool:
    return any(manager.hasplugin(name) for name in names)


def told(config: pytest.Config) -> dict[str, Any]:
    """What the controlling process's plugins say to a worker that is an interpreter of its own."""
    if not config.pluginmanager.hasplugin("_cov"):
        return {}
    return {
        "cov_master_host": socket.gethostname(),
        "cov_master_topdir": os.getcwd(),
        "cov_master_rsync_roots": [],
    }


def is_one_of_many(options: Any) -> None:
    """Before plugins begin in a worker that is an interpreter of its own. pytest-cov, which
    first takes it for the only process, would erase what other workers have measured."""
    if hasattr(options, "cov_append"):
        options.cov_append = True


def _measures(config: Any) -> None:
    """pytest-cov's controller would combine what other workers still write, and report.
    A worker saves what it measured; the controlling process combines."""
    controller = getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if controller is None:
        return

    def finish() -> None:
        controller.cov.stop()
        controller.cov.save()

    controller.finish = finish


def _compares(config: Any) -> None:
    """syrupy's workers may write one file at a time."""
    session = getattr(config, "_syrupy", None)
    lock = getattr(sys.modules.get("syrupy.session"), "set_snapshot_file_lock", None)
    if session is not None and lock is not None:
        lock(session.snapshot_file_lock, timeout=session.snapshot_file_lock_timeout)
