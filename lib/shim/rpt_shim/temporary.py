"""Owns pytest's base folder for temporary files where workers share one: the server makes it when
the first worker needs it, and removes it as pytest does at a session's end. Most tests need none, and
making it and looking for old ones takes longer than such a test."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from rpt_shim import surroundings


class Desk:
    """Where workers ask. Each sends the end of a pipe, through which it is answered."""

    def __init__(self) -> None:
        # Numbers: a socket would be heard if it were taken apart (`voices`).
        self.ours, self.theirs = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))

    def fileno(self) -> int:
        return self.ours

    def answer(self, config: Any) -> None:
        """In the server. Where there can be no folder the answer is empty."""
        with socket.socket(fileno=os.dup(self.ours)) as ours:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        surroundings.make_base_temporary_folder(config)
        base = getattr(getattr(config, "_tmp_path_factory", None), "_basetemp", None)
        for fd in fds:
            # Who asked may be gone.
            with contextlib.suppress(OSError), open(fd, "wb") as pipe:
                pipe.write(b"" if base is None else os.fsencode(base))

    def ask(self) -> str:
        """In a worker."""
        answer, theirs = os.pipe()
        with open(answer, "rb") as pipe:
            try:
                with socket.socket(fileno=os.dup(self.theirs)) as line:
                    socket.send_fds(line, [b"?"], [theirs])
            finally:
                os.close(theirs)
            return os.fsdecode(pipe.read())


def own(config: pytest.Config, worker: str, desk: Desk) -> None:
    """In a worker: a folder of its own in the one that all share, when it needs one."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None or factory._basetemp is not None:
        surroundings.own_temporary_folder(config, worker)
        return
    surroundings.fresh_temporary_folder(factory)

    def getbasetemp() -> Path:
        base = desk.ask()
        del factory.getbasetemp
        if base:
            factory._given_basetemp = Path(base, f"popen-{worker}")
        # Else it says itself what is wrong.
        return factory.getbasetemp()

    factory.getbasetemp = getbasetemp
