"""Owns what a server forked: which processes there are, how their end is noticed, and how they
are ended. Knows nothing of what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator

from rpt_shim import unfinished

#: Where process descriptors are missing, how often children are looked at, in seconds.
CHILD_POLL = 0.02


class Children:
    def __init__(self) -> None:
        #: By pid: the worker's name, empty for what serves somebody else, and a descriptor that
        #: becomes readable when it ends, where the system has such.
        self.known: dict[int, tuple[str, int | None]] = {}

    def __len__(self) -> int:
        return len(self.known)

    def fork(self, worker: str) -> int:
        """0 in the fork, which has no children; else its pid."""
        # What is buffered here would be written by every fork again.
        sys.stdout.flush()
        sys.stderr.flush()
        files, had_threads = unfinished.flush_files(), threading.active_count() > 1
        with warnings.catch_warnings():
            # Python warns of forking with threads; rpt's --exec auto has decided.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self.forget()
            unfinished.forked(files, had_threads)
        else:
            self.known[pid] = (worker, _open_process(pid))
        return pid

    def name(self, pid: int, worker: str) -> None:
        """One of them is that worker from here on."""
        self.known[pid] = (worker, self.known[pid][1])

    def forget(self) -> None:
        """They are another process's."""
        for fd in self.descriptors():
            os.close(fd)
        self.known = {}

    def pids(self) -> set[int]:
        return set(self.known)

    def descriptors(self) -> list[int]:
        return [fd for _, fd in self.known.values() if fd is not None]

    def must_be_asked(self) -> bool:
        """Whether the end of one can only be seen by looking again and again."""
        return any(fd is None for _, fd in self.known.values())

    def ended(self) -> Iterator[tuple[int, str, int]]:
        """Those that ended since: pid, worker and status as waitpid has it."""
        for pid, (worker, fd) in list(self.known.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done == 0:
                continue
            if fd is not None:
                os.close(fd)
            del self.known[pid]
            yield pid, worker, status

    def kill(self, spared: int | None = None) -> None:
        """Each with its process group."""
        for pid in self.pids() - {spared}:
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # It is between fork and setpgid, or gone.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _open_process(pid: int) -> int | None:
    open_process = getattr(os, "pidfd_open", None)
    if open_process is None:
        return None
    try:
        return open_process(pid)
    except OSError:
        return None
