"""Owns what pytest's plugins keep around a test for the case that it prints, logs or
warns, kept in place from one test to the next instead of being put up and taken down
three times a test. Each class looks, before anything runs, whether everything still
is where pytest would just have put it, and puts it there where it is not.

Knows nothing of phases' results.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from typing import Any

import pytest
from _pytest import logging as pytest_logging


class Output:
    """Stands for capture.CaptureManager.item_capture: global capture goes on between
    phases, and its files are read where something was written to them."""

    def __init__(self, config: pytest.Config) -> None:
        self.manager: Any = config.pluginmanager.getplugin("capturemanager")
        self.files = self.manager._global_capturing.out, self.manager._global_capturing.err
        self.by_descriptor = config.option.capture == "fd"
        #: Where stdout and stderr lead to while they are captured.
        self.places = (0, 0, 0, 0)

    def begin(self) -> None:
        manager = self.manager
        if not self._is_in_place():
            manager.suspend_global_capture(in_=False)
            manager.resume_global_capture()
            self.places = _places()
        if manager._capture_fixture:
            manager.activate_fixture()

    def end(self, item: pytest.Item, when: str) -> None:
        manager = self.manager
        if manager._capture_fixture:
            manager.deactivate_fixture()
        if self._is_written():
            out, err = manager.read_global_capture()
            item.add_report_section(when, "stdout", out)
            item.add_report_section(when, "stderr", err)

    def park(self) -> None:
        """As it is between two phases."""
        self.manager.suspend_global_capture(in_=False)

    def _is_in_place(self) -> bool:
        out, err = self.files
        if sys.stdout is not out.tmpfile or sys.stderr is not err.tmpfile:
            return False
        if not self.by_descriptor:
            return True
        try:
            return self.places == _places()
        except OSError:
            # A test closed one of them.
            return False

    def _is_written(self) -> bool:
        if not self.by_descriptor:
            return True
        out, err = self.files
        return bool(os.lseek(out.tmpfile.fileno(), 0, os.SEEK_CUR) or os.lseek(err.tmpfile.fileno(), 0, os.SEEK_CUR))


def _places() -> tuple[int, int, int, int]:
    """Which files stdout and stderr lead to: device and inode of each."""
    out, err = os.fstat(1), os.fstat(2)
    return out.st_dev, out.st_ino, err.st_dev, err.st_ino


class Logs:
    """Stands for logging.LoggingPlugin._runtest_for: the two handlers stay with the
    loggers that pytest gives them to."""

    def __init__(self, config: pytest.Config) -> None:
        plugin: Any = config.pluginmanager.getplugin("logging-plugin")
        self.handlers = [plugin.caplog_handler, plugin.report_handler]
        self.loggers: list[logging.Logger] = []

    def begin(self, item: pytest.Item, when: str) -> None:
        loggers = _loggers()
        if loggers != self.loggers or not self._are_in_place():
            self.park()
            for handler in self.handlers:
                for logger in loggers:
                    logger.addHandler(handler)
            self.loggers = loggers
        for handler in self.handlers:
            handler.records = []
            if handler.stream.tell():
                handler.stream = io.StringIO()
        caplog = self.handlers[0]
        item.stash[pytest_logging.caplog_records_key][when] = caplog.records
        item.stash[pytest_logging.caplog_handler_key] = caplog

    def _are_in_place(self) -> bool:
        return all(logger.handlers[-2:] == self.handlers for logger in self.loggers)

    def end(self, item: pytest.Item, when: str) -> None:
        report = self.handlers[1]
        if report.stream.tell():
            item.add_report_section(when, "log", report.stream.getvalue().strip())

    def park(self) -> None:
        for logger in self.loggers:
            for handler in self.handlers:
                logger.removeHandler(handler)
        self.loggers = []


def _loggers() -> list[logging.Logger]:
    """The root logger and those whose records do not reach it, as logging.catching_logs
    finds them."""
    root = logging.getLogger()
    others = [
        logger
        for logger in root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger) and not logger.propagate and logger is not root
    ]
    return [root, *others]


class Warnings:
    """Stands for warnings.pytest_runtest_protocol: the filters of pytest's configuration
    and the list of what was shown stay. What each module remembers to have shown is
    forgotten after a test in which something was, as it is when the context ends."""

    def __init__(self, config: pytest.Config) -> None:
        self.config: Any = config
        self.context: Any = None
        self.shown: list[Any] = []
        self.state: tuple[Any, ...] = ()
        self.filters: list[Any] = []

    def begin(self) -> None:
        if self.context is not None and self.state == _state_of_warnings() and self.filters == warnings.filters:
            return
        self.park()
        self.context = self.config._catch_configured_warnings(record=True)
        self.shown = self.context.__enter__()
        self.state = _state_of_warnings()
        self.filters = warnings.filters[:]

    def end(self, item: pytest.Item, hooks: Any) -> None:
        if not self.shown:
            return
        try:
            for message in self.shown:
                hooks.pytest_warning_recorded.call_historic(
                    kwargs={"warning_message": message, "nodeid": item.nodeid, "when": "runtest", "location": None}
                )
        finally:
            self.shown.clear()
            warnings._filters_mutated()

    def park(self) -> None:
        context, self.context = self.context, None
        if context is not None:
            context.__exit__(None, None, None)


def _state_of_warnings() -> tuple[Any, ...]:
    return id(warnings.filters), id(warnings._showwarnmsg_impl), id(warnings.showwarning)
