"""Owns the board: a page of memory that a worker shares with rpt and on which it
notes what it is doing. What stands there survives whatever ends the process, and
noting costs no system call.

The page: byte 0 the phase (0 none, 1 setup, 2 call, 3 teardown), byte 1 how the
call ended (0 it has not, 1 passed, 2 failed, 3 skipped), bytes 2 and 3 the length
of the text that follows: the fixture that is set up or torn down, or, before any
test runs, what is being collected.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Generator
from typing import Any

import pytest

from rpt_shim import reports, wire

#: The size of the page; rpt's side is `run/board.rs`.
SIZE = 512

_AFTER = {"setup": 2, "call": 3, "teardown": 0}
_ENDED = {"passed": 1, "failed": 2, "skipped": 3}


class Board:
    """The plugin that keeps it."""

    def __init__(self, fd: int = -1) -> None:
        """Without a descriptor nobody reads it."""
        self.page = mmap.mmap(fd, SIZE)

    def lies_at(self, fd: int) -> None:
        """From here on."""
        self.page = mmap.mmap(fd, SIZE)

    def begins(self) -> None:
        """A test begins: its set-up."""
        self.page[:4] = b"\x01\0\0\0"

    def reported(self, report: pytest.TestReport | reports.Passed) -> None:
        """A phase ended, the next one begins."""
        if report.when == "call":
            self.page[1] = _ENDED.get(report.outcome, 0)
        self.page[0] = _AFTER.get(report.when or "", 0)

    def collects(self, collector: str) -> None:
        """A file or folder is collected now."""
        text = wire.text(collector).encode("utf-8")[: SIZE - 64]
        self._note(len(text).to_bytes(2, "little") + text)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, None]:
        before = self.page[2:SIZE]
        name = wire.text(fixturedef.argname).encode("utf-8")[: SIZE - 64]
        text = b"%s fixture '%s'" % (fixturedef.scope.encode("ascii"), name)
        doing = len(text).to_bytes(2, "little") + text
        self._note(doing)
        yield
        self._note(before)
        # Finalizers run in reverse order: this one before the fixture's own.
        fixturedef.addfinalizer(functools.partial(self._note, doing))

    def _note(self, doing: bytes) -> None:
        self.page[2 : 2 + len(doing)] = doing
