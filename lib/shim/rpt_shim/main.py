"""Owns the way in and out of a process: pytest itself is started with rpt's plugin."""

from __future__ import annotations

import gc
import socket
import traceback
from typing import Any

import pytest

from rpt_shim import base, ending, identity, surroundings, wire
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
    if not server.entered:
        control.send({"type": "ended", "exit_code": code})
    ending.leave(server, code)
    return code
