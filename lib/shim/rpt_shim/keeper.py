"""Owns what is left when a process that runs or forks tests is killed: its parent, which does
nothing else, adopts whatever it had started, ends that, and ends in the same way. Linux only;
elsewhere there is no such parent. Must not import pytest.
"""

from __future__ import annotations

import contextlib
import os
import signal

from rpt_shim import orphans

#: What rpt asks of the process it started is meant for the one that is kept.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def keep(is_worker: bool) -> None:
    """Returns in a child of this process, which stays behind. A worker has a process group of
    its own and dies with its keeper, whose end says how it ended; a server that loses it goes on."""
    if not orphans.adopt():
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = os.fork()
    if child == 0:
        if is_worker:
            os.setpgid(0, 0)
            orphans.die_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    # Not reaped before the keeper itself ends: until then its number is nobody else's.
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid) != child:
        # Adopted, and ended since.
        os.waitpid(ended, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        # Who ends by itself has seen to it, and knows what was there before.
        orphans.end(set())
        _end_by(os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _end_by(number: int) -> None:
    """Ends as the child did, but without a second core."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.kill(os.getpid(), number)
