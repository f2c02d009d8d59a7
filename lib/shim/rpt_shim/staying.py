"""Owns a server that stays: it holds a collection, forks for each client that comes, takes in test files
that changed, and does what is to be done when nobody is there. A client's fork is a server as any other
that has that one client."""

from __future__ import annotations

import gc
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from rpt_shim import cache, ending, inventory, renewed, spare, standing, surroundings, temporary, wire
from rpt_shim.prepared import Prepared
from rpt_shim.voices import Voices
from rpt_shim.worker import join, ready

if TYPE_CHECKING:
    from rpt_shim.server import Server

#: After so long without anybody, in seconds, the next fork is made before it is needed.
PAUSE = 0.05

#: After so long it is tidied up: that keeps whoever comes meanwhile waiting.
QUIET = 2.0


def begin(server: Server, session: pytest.Session) -> None:
    """Works out what no client shall wait for."""
    assert server.control is not None and server.listener is not None
    server.greeting = server.collected(session)
    server.lacks_spare = True
    # It holds what it described.
    server.describer = inventory.Describer()
    server.prepared = Prepared(session)
    server.voices = Voices(session.config, [server.control.fileno(), server.listener.fileno()])
    server.control.send({"type": "lingering"})


def next_chore(server: Server, idle_since: float) -> float | None:
    """When there is something to do if nobody comes before."""
    if server.control is None or server.listener is None:
        # Who keeps it is gone, or it serves nobody any more.
        return None
    if server.lacks_spare:
        return idle_since + (0.0 if server.is_awaited else PAUSE)
    return idle_since + QUIET if server.is_untidy else None


def do_chore(server: Server, session: pytest.Session) -> bool:
    """Nobody came. True: this process is a fork that has run its tests, and its session ends here."""
    if server.lacks_spare:
        return _make_spare(server, session)
    # What was collected again and again would take more and more memory.
    assert server.voices is not None
    server.is_untidy = False
    server.voices.collect()
    return False


def _make_spare(server: Server, session: pytest.Session) -> bool:
    """Forks for the next client, and there for its first worker. One that ends before somebody comes
    is not made again: the next would end as well."""
    server.lacks_spare = server.is_awaited = False
    made = spare.fork(server.children)
    if isinstance(made, spare.Spare):
        server.spare = made
        return False
    _part(server)
    server.desk = temporary.Desk()
    worker = spare.fork(server.children)
    if not isinstance(worker, spare.Spare):
        made.close()
        # A worker says the warnings that it is told of, and nobody hears it yet.
        if not server.findings.warnings and ending.nobody_else_acts(session.config, "pytest_plugin_registered"):
            server.ready_worker = ready(session)
            join(session, server.ready_worker)
        server.become_worker(session, *spare.wait(worker))
        return True
    server.spare = worker
    # Again when somebody comes: then the system need not copy first what is written to here.
    standing.look_again(session.config)
    wire.encode(_greeting(server, session))
    _, fds = spare.wait(made, worker, server.children)
    _greet(server, session, socket.socket(fileno=fds[0]))
    return False


def serve_apart(server: Server, session: pytest.Session, connection: socket.socket) -> None:
    """Forks for a client. This process stays as it is."""
    ready, server.spare = server.spare, None
    server.lacks_spare, server.is_awaited = True, False
    if ready is not None and ready.takes({"op": "client"}, [connection.fileno()]):
        connection.close()
        return
    if server.children.fork(""):
        connection.close()
        return
    _part(server)
    _greet(server, session, connection)


def _part(server: Server) -> None:
    """In a fork that is to serve one client, and ends with it."""
    server.apart = True
    server.is_untidy = server.is_awaited = False
    os.setpgid(0, 0)
    assert server.listener is not None
    if server.control is not None:
        server.control.close()
        server.control = None
    server.listener.close()
    server.listener = None
    server.drop_spare()
    surroundings.forget_exit_handlers()
    server.spared = set()
    server.said_first, server.greeting = server.greeting or {}, None


def _greet(server: Server, session: pytest.Session, connection: socket.socket) -> None:
    standing.look_again(session.config)
    server.control = wire.Control(connection)
    server.control.send(_greeting(server, session))


def _greeting(server: Server, session: pytest.Session) -> dict[str, Any]:
    return {**server.said_first, "holds_failures": cache.holds_failures(session.config)}


def renew(server: Server, session: pytest.Session, request: dict[str, Any]) -> None:
    """Collects a few files again. Where that cannot be done this process is of no use any more."""
    assert server.control is not None
    if server.dependencies is None or server.prepared is None or server.voices is None:
        server.control.send({"type": "refused", "message": "it does not stay"})
        return
    server.drop_spare()
    server.lacks_spare = True
    # Who looks whether garbage could be heard must see all of it.
    gc.disable()
    # What is imported now may take for ever. A group ends without its forks, which have clients:
    # who outlives this process would end them.
    surroundings.die_with(server.control.fileno(), whole_group=True)
    try:
        server.dependencies.looks_at_part(request["since"])
        replaced = renewed.renew(server.findings, session, server.prepared.runs, request["files"])
        server.dependencies.stop()
        server.renewed = [item for _, _, _, items in replaced for item in items]
        server.describer = inventory.Describer()
        server.greeting = server.collected(session)
        server.prepared.takes_in(session, replaced)
        server.voices.takes_in_new()
    except (Exception, pytest.exit.Exception, SystemExit, KeyboardInterrupt) as error:
        # Whoever comes before it ends would get what is half of this and half of that.
        server.stop_listening()
        why = str(error) if isinstance(error, renewed.Doubt) else f"{type(error).__name__}: {error}"
        answer = {"type": "refused", "message": wire.text(why)}
    else:
        server.is_untidy = True
        answer = {"type": "renewed", "count": len(session.items)}
    finally:
        server.dependencies.stop()
        gc.enable()
        surroundings.outlive(server.control.fileno())
    server.control.send(answer)
