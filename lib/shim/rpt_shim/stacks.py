"""Owns saying where a worker is when rpt asks by a signal: the stacks of all
threads, which the fault handler writes even while no Python code can run, and
where Python does run the coroutines of all tasks of the event loop.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

#: Written when everything was said. rpt's side is `run/overdue.rs`.
END = b"[rpt: end of stacks]\n"

#: Below it tests expect to find the descriptors that they open.
LOWEST_DESCRIPTOR = 100


#: By signal: the copy of an output on which it is answered.
_copies: dict[int, int] = {}


def answer(number: int, output: int) -> None:
    """From now on the signal `number` is answered on a copy of `output`."""
    fd = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)
    _copies[number] = fd

    def tell(_number: int, _frame: Any) -> None:
        text = "".join(f"{line}\n" for line in _tasks()).encode("utf-8", "backslashreplace")
        os.write(fd, text + END)

    signal.signal(number, tell)
    # The stacks first, from inside the signal handler, then `tell` as soon as Python runs.
    faulthandler.register(number, file=fd, all_threads=True, chain=True)


def silence(number: int) -> None:
    """Undoes `answer`. The signal then says nothing to nobody."""
    faulthandler.unregister(number)
    signal.signal(number, signal.SIG_IGN)
    os.close(_copies.pop(number))


def _tasks() -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    if loop is None:
        return
    current = asyncio.current_task(loop)
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        running = ", running" if task is current else ""
        yield f"\nTask {task.get_name()!r}{running} (most recent call last):"
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
            if frame is not None:
                code = frame.f_code
                yield f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}'
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
