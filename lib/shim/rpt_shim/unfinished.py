"""Owns what a process sees to that leaves without being taken apart: threads that still work, and files
whose last lines lie in a buffer. Python does both at its end.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import stat
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

#: How long threads may go on, in seconds. Python waits for ever; rpt kills after ten seconds what it has
#: interrupted, and exit handlers come after this.
PATIENCE_S = 5.0

#: What every file is, whatever class it says it has.
FILE = io.IOBase.__mro__[1]


def _place(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


#: Where this program's output goes, which others copy to put something else there for a while.
_OUTPUT = {_place(fd) for fd in (1, 2)}

#: What wrote into files when this process was forked.
_inherited: list[weakref.ref[Any]] = []

#: Another thread may have held one of them then, and does so for ever here.
_is_held = False


def has_threads() -> bool:
    """Whether any is there for which Python would wait."""
    return bool(_waited_for())


def _waited_for() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def end_threads() -> None:
    """Lets them go on to their end, and says which did not come to it."""
    if not has_threads():
        return
    waiting = threading.Thread(target=_join, daemon=True)
    waiting.start()
    waiting.join(PATIENCE_S)
    if waiting.is_alive():
        names = ", ".join(sorted(thread.name for thread in _waited_for()))
        print(f"rpt: left after {PATIENCE_S:g} s with threads that still run: {names}", file=sys.stderr)


def _join() -> None:
    # As threading does: executors have theirs ended first.
    for callback in reversed(list(getattr(threading, "_threading_atexits", ()))):
        callback()
    for thread in _waited_for():
        thread.join()


def written_files() -> frozenset[int]:
    """Descriptors by which files that have a name are written, this program's output aside."""
    output = _OUTPUT | {_place(fd) for fd in (1, 2)}
    return frozenset(fd for fd in _descriptors() if fd > 2 and _place(fd) not in output and _is_written(fd))


def _descriptors() -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        # There is no such folder, or no descriptor is left to look into it.
        return range(1024)


def _is_written(fd: int) -> bool:
    try:
        found, flags = os.fstat(fd), fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError:
        # The one by which they were listed.
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink > 0 and flags & os.O_ACCMODE != os.O_RDONLY


def flush_files() -> list[Any]:
    """Before a fork, which would write again what lies in a buffer. What was asked to."""
    written = written_files()
    found = _writers(written) if written else []
    for thing in found:
        _ask(thing, "flush")
    return found


def forked(found: list[Any], had_threads: bool) -> None:
    """In the fork: what was there before it is written by others, too."""
    global _inherited, _is_held
    _inherited, _is_held = list(map(weakref.ref, found)), had_threads


def close_files() -> None:
    """At the end: what was made here is closed, of what a fork found only the buffers are its own."""
    written = written_files()
    if not written:
        return
    inherited = {id(thing()) for thing in _inherited}
    for thing in sorted(_writers(written), key=_depth):
        if id(thing) not in inherited:
            _ask(thing, "close")
        elif not _is_held:
            _ask(thing, "flush")


def _writers(written: frozenset[int]) -> list[Any]:
    """What the collector knows that writes into these files."""
    was_frozen = gc.get_freeze_count() > 0
    if was_frozen:
        gc.unfreeze()
    found = [thing for thing in gc.get_objects() if _writes(thing, written)]
    if was_frozen:
        gc.freeze()
    return found


def _writes(thing: Any, written: frozenset[int]) -> bool:
    try:
        # Nothing is asked but files: others may do something when they are.
        return FILE in type(thing).__mro__ and not thing.closed and thing.fileno() in written
    except Exception:
        # It is in memory, or not whole.
        return False


def _depth(thing: Any) -> int:
    """Text stands before what packs it, that before a buffer, and that before the file."""
    if isinstance(thing, io.TextIOBase):
        return 0
    if type(thing).__module__ not in ("io", "_io"):
        return 1
    return 3 if isinstance(thing, io.RawIOBase) else 2


def _ask(thing: Any, what: str) -> None:
    try:
        if not thing.closed:
            getattr(thing, what)()
    except Exception as error:
        print(f"rpt: {thing!r} could not be written: {error}", file=sys.stderr)
