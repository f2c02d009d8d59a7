"""Owns a process that is forked before anybody needs it, so that whoever does need not wait for it: of
a large suite a fork takes longer than a test. It waits for a message that says what it is for; when its
maker drops it, or ends, it ends."""

from __future__ import annotations

import contextlib
import os
import select
from typing import Any

from rpt_shim import wire
from rpt_shim.children import Children


class Spare:
    """In its maker."""

    def __init__(self, pid: int, line: wire.Control) -> None:
        self.pid = pid
        self.line = line

    def takes(self, request: dict[str, Any], fds: list[int]) -> bool:
        """It goes to work. False: it has ended."""
        try:
            self.line.send(request, fds)
        except OSError:
            return False
        finally:
            self.line.close()
        return True

    def drop(self) -> None:
        self.line.close()


def fork(children: Children) -> Spare | wire.Control:
    """In the fork, which has to wait for its work there: its end of the line."""
    ours, theirs = wire.pair()
    pid = children.fork("")
    if pid == 0:
        ours.close()
        return theirs
    theirs.close()
    return Spare(pid, ours)


def wait(
    line: wire.Control, before: Spare | None = None, children: Children | None = None
) -> tuple[dict[str, Any], list[int]]:
    """In the fork: what it is for. `before`, of its `children`: what it has forked itself, which
    ends first: left behind, nobody would wait for its end."""
    while children is not None:
        poll = select.poll()
        for fd in (line.fileno(), *children.descriptors()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll()
        for _ in children.ended():
            # Somebody killed it; whoever would use it sees that.
            pass
        if any(fd == line.fileno() for fd, _ in ready):
            break
    received = line.receive()
    if received is None:
        if before is not None:
            before.drop()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(before.pid, 0)
        os._exit(0)
    line.close()
    return received
