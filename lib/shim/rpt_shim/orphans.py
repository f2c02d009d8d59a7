"""Owns processes that tests leave behind. On Linux the server adopts them when their
parent ends, so that they can be found and ended; elsewhere only process groups are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

#: How long killed processes are waited for, in seconds.
PATIENCE = 5.0


def adopt() -> bool:
    """From now on processes below this one whose parent ends become its children."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended meanwhile.
        os.kill(os.getpid(), signal.SIGKILL)


def _prctl(option: int, value: int) -> bool:
    """The part of ctypes that is needed, without the twenty milliseconds that all of it takes."""
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")
        return bool(_ctypes.call_function(prctl, (option, int(value), 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError, TypeError):
        return False


def children(pid: int | None = None) -> set[int]:
    """A process's children, this one's where none is named, ended ones that nobody waited for included.
    Linux only."""
    tasks = f"/proc/{'self' if pid is None else pid}/task"
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(tasks):
            with contextlib.suppress(OSError), open(f"{tasks}/{task}/children") as file:
                found.update(int(child) for child in file.read().split())
    return found


def has_none(pid: int | None = None) -> bool:
    """Whether a process certainly has no child: elsewhere than on Linux nobody knows."""
    return os.path.exists(f"/proc/{'self' if pid is None else pid}/task") and not children(pid)


def reap(spared: set[int]) -> None:
    """Waits for adopted children that have ended, so that whoever looks for them sees it."""
    for pid in children() - spared:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def end(spared: set[int]) -> None:
    """Kills all children but the `spared`, and theirs, which then are ours."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        left = children() - spared
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
        reap(spared)
