"""Owns the way in and out of a process: pytest itself is started with rpt's plugin."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import socket
import sys
import traceback
from typing import Any

import pytest

from rpt_shim import base, identity, orphans, surroundings, wire
from rpt_shim.dependencies import Dependencies, OnlyFiles
from rpt_shim.server import Server

#: Objects allocated between two young collections while pytest starts and
#: collects: nearly everything made then lives on, so looking at it again and
#: again costs a tenth to a quarter of the time and finds nothing.
GC_THRESHOLD_WHILE_COLLECTING = 200_000


def main(control_socket: socket.socket, settings: dict[str, Any]) -> int:
    """Returns the exit code of the process; never returns in a forked worker."""
    record = None
    if settings["base"] is not None:
        control_socket, settings, record = base.serve(control_socket, settings)
    control = wire.Control(control_socket)
    surroundings.die_with(control.fileno())
    server = Server(control, settings, gc.get_threshold())
    gc.set_threshold(GC_THRESHOLD_WHILE_COLLECTING, *server.gc_thresholds[1:])
    if settings["watched_since"] is not None:
        server.dependencies = Dependencies(settings["watched_since"]) if record is None else record
    try:
        plugins: list[Any] = [server, identity]
        if settings["only"] is not None:
            plugins.append(OnlyFiles(settings["only"]))
        code = int(pytest.main(settings["args"], plugins=plugins))
    except BaseException:
        if not server.forked and server.worker is None:
            raise
        traceback.print_exc()
        code = 3
    if server.worker is not None:
        if server.output:
            server.worker.results.send("output", wire.packed(server.output))
        server.worker.results.send("finish", code)
    if server.ending is not None and server.last_client is not None:
        # A client that is gone needs no answer.
        with contextlib.suppress(OSError):
            server.last_client.send({"type": "finished", "exit_code": code, "text": server.said})
    if not server.entered:
        control.send({"type": "ended", "exit_code": code})
    if server.forked or server.entered:
        # Exit handlers run, but the interpreter is not taken apart object by object:
        # in a worker most of them are the server's, and in both it takes as long as
        # hundreds of tests and nothing can be seen of it.
        atexit._run_exitfuncs()
        server.end_orphans()
        sys.stdout.flush()
        sys.stderr.flush()
        if server.forked and server.worker is not None and server.resident is None and not orphans.children():
            # Nothing is left to be heard of it or found below it: nobody need wait until the system
            # has taken the memory of a whole suite apart.
            server.worker.results.send("gone", code)
            os.closerange(0, 256)
        if server.apart and server.last_client is not None:
            # Everything is done, and whoever forked this process sees its end: the client need
            # not wait until the system has taken the memory of a whole suite apart.
            server.last_client.close()
        os._exit(code)
    return code
