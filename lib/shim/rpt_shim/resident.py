"""Owns fixtures that outlive a run: a server that takes one client after another, and the one
worker that it keeps between them, whose session goes on with its fixtures of session and
package scope. Only where rpt-serve was told to keep them.

To tests it is one long session of pytest's in which they run again. What a run left at the
items themselves (marks, sections, properties) is taken back before the next; what tests left
in modules stays, as between two tests of any session.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.fixtures import FixtureDef

from rpt_shim import cache, loaded, orphans, sharing, stacks, standing, surroundings, wire

if TYPE_CHECKING:
    from rpt_shim.server import Server

#: For how long a client that was announced is waited for, in seconds.
EXPECTED = 30.0

#: How long the kept worker may take to tear down, in seconds, before it is killed.
TEARDOWN = 30.0

#: Scopes whose fixtures stay.
SCOPES = ("session", "package")

#: Who makes fixtures that nobody needs to keep.
OF_TOOLS = ("_pytest.", "rpt_shim.")


class Residence:
    """What such a server has besides a server's things."""

    def __init__(self, server: Server, session: pytest.Session, request: dict[str, Any]) -> None:
        self.server = server
        self.session = session
        #: Who asked for it; when that has no more requests it ends.
        self.owner = server.control
        self.is_owned = True
        self.ends_at = time.monotonic() + request["max_age"]
        self.expected_until = 0.0
        #: What each client is told first.
        self.greeting = server.collected(session)
        #: The worker that is kept, the connection to it, and whether it runs nothing now.
        self.pid: int | None = None
        self.name = ""
        self.line: wire.Control | None = None
        self.is_idle = False
        #: What the worker has loaded, as it was then.
        self.loaded: list[tuple[str, loaded.State]] = []

    def sources(self) -> list[Any]:
        """What is waited for."""
        of_clients = self.server.listener if self.server.control is None else self.server.control
        owner = self.owner if self.is_owned else None
        return [source for source in (owner, self.line, of_clients) if source is not None]

    def deadline(self) -> float | None:
        """When it ends by itself; None: not while it has a client."""
        return max(self.ends_at, self.expected_until) if self.server.control is None else None

    def is_over(self) -> bool:
        deadline = self.deadline()
        return deadline is not None and (not self.is_owned or time.monotonic() >= deadline)

    # The owner and the clients

    def hear_owner(self) -> None:
        """It says that a client will come; or it is gone."""
        assert self.owner is not None
        request = self.owner.receive()
        if request is None:
            # It may still listen.
            self.is_owned = False
        elif loaded.changed(self.loaded) is not None:
            # It ends without an answer.
            self.ends_at = 0.0
        else:
            self.expected_until = time.monotonic() + EXPECTED
            self.owner.send({"type": "lingering"})

    def take_client(self) -> None:
        assert self.server.listener is not None
        connection, _ = self.server.listener.accept()
        self.expected_until = 0.0
        standing.look_again(self.session.config)
        self.server.control = wire.Control(connection)
        greeting = {**self.greeting, "holds_failures": cache.holds_failures(self.session.config)}
        # One that is gone already is seen by the next look at its connection.
        with contextlib.suppress(OSError):
            self.server.control.send(greeting)

    def client_left(self) -> None:
        """Whatever it had begun ends with it."""
        assert self.server.control is not None
        self.server.control.close()
        self.server.control = None
        self.server.ending = None
        self.server.children.kill(spared=self.pid if self.is_idle else None)

    # The worker

    def hand_over(self, request: dict[str, Any], fds: list[int]) -> bool:
        """Gives a run to the worker that is kept, if one waits."""
        if self.line is None or not self.is_idle:
            return False
        try:
            self.line.send(request, fds)
        except OSError:
            # It ended just now.
            return False
        self.is_idle = False
        self.name = request["identity"]["worker"]
        return True

    def hear_worker(self) -> None:
        assert self.line is not None
        message = self.line.receive()
        if message is None:
            # Its end is told by its process.
            self.line.close()
            self.line = None
        elif message[0]["type"] == "rests":
            self.is_idle = True
            self.loaded = [(path, tuple(state)) for path, state in message[0]["loaded"].items()]
            self._tell(self.server.control, {"type": "released", "worker": self.name, "pid": self.pid})
        else:
            self._tell(self.owner, message[0])

    @staticmethod
    def _tell(whom: wire.Control | None, message: dict[str, Any]) -> None:
        if whom is not None:
            with contextlib.suppress(OSError):
                whom.send(message)

    def look_for_worker(self) -> None:
        """Where it ended, nothing that it started stays."""
        if self.pid is not None and self.pid not in self.server.children.pids():
            self.pid = None
            self.is_idle = False
            self.loaded = []
            if self.line is not None:
                self.line.close()
                self.line = None
            orphans.end(self.server.spared | self.server.children.pids())

    def end(self) -> None:
        """Lets the worker tear down, and waits for its end."""
        self.server.stop_listening()
        if self.line is not None:
            with contextlib.suppress(OSError):
                self.line.socket.shutdown(socket.SHUT_WR)
        until = time.monotonic() + TEARDOWN
        while self.server.children:
            readable = self.server._wait(until)
            if self.line is not None and self.line in readable:
                self.hear_worker()
            if time.monotonic() >= until:
                self.server.children.kill()
            self.server._reap()

    # Forking

    def pair(self) -> tuple[wire.Control, wire.Control] | None:
        """Both ends of the connection to a worker that will be kept; None: there is one."""
        if self.pid is not None:
            return None
        return wire.pair()

    def forked(self, pid: int, name: str, line: wire.Control) -> None:
        self.pid, self.name, self.line, self.is_idle = pid, name, line, False

    def let_go(self) -> None:
        """In a worker: what is the server's alone."""
        for mine in (self.owner, self.line, self.server.listener):
            if mine is not None:
                mine.close()
        self.owner = self.line = self.server.listener = None


def serve(server: Server, session: pytest.Session, request: dict[str, Any]) -> bool:
    """Takes clients until the owner is gone or the time is over. Returns as a server's loop
    does: in the server when it ends, and in each worker."""
    # Its worker is not as others.
    server.drop_spare()
    residence = Residence(server, session, request)
    server.residence = residence
    server._listen(session.config, request["socket"])
    assert residence.owner is not None
    residence.owner.send({"type": "lingering"})
    server.control = None
    while not residence.is_over():
        readable = server._wait(residence.deadline())
        if residence.line is not None and residence.line in readable:
            residence.hear_worker()
        if residence.owner is not None and residence.owner in readable:
            residence.hear_owner()
        if server.listener is not None and server.listener in readable:
            residence.take_client()
        elif server.control is not None and server.control in readable:
            asked = server.control.receive()
            if asked is None:
                residence.client_left()
            elif server._answer(session, *asked):
                return True
        server._reap()
        residence.look_for_worker()
    residence.end()
    return server._leave(session)


class Resident:
    """The worker that is kept."""

    def __init__(self, server: Server, session: pytest.Session, line: wire.Control) -> None:
        self.server = server
        self.session = session
        self.line = line
        option: Any = session.config.option
        #: Options that a run changes, as they were.
        self.options = {name: getattr(option, name) for name in ("maxfail", "tbstyle", "verbose")}
        #: Nodes that a run used, as they were before.
        self.before: dict[Any, Before] = {}
        self.loaded = loaded.Loaded(str(session.config.rootpath))

    def live(self, request: dict[str, Any], fds: list[int]) -> None:
        """The first run has ended; others may follow."""
        while True:
            reason = self._why_not()
            states = self.loaded.states()
            if isinstance(states, str):
                reason = f"{states} changed while the run was on"
            if reason is not None or isinstance(states, str):
                self.line.send({"type": "not_kept", "reason": wire.text(reason)})
                return
            self._rest(request, fds, states)
            received = self.line.receive()
            if received is None:
                self._tear_down()
                return
            request, fds = received
            self._resume(request, fds)

    # What the worker's loop asks

    def pause(self, item: pytest.Item) -> pytest.Item:
        """What "follows" the last item: something beside its module, so that what belongs to
        the module is torn down and what is above it stays."""
        above: Any = self.session
        for node in item.listchain():
            if isinstance(node, pytest.Item) or (
                isinstance(node, pytest.File) and not isinstance(node, pytest.Package)
            ):
                break
            above = node
        return Pause.from_parent(above, name="rpt")

    def remember(self, item: pytest.Item) -> None:
        """`item` is about to run."""
        for node in item.listchain():
            kept = isinstance(node, (pytest.Session, pytest.Package)) or not isinstance(
                node, (pytest.Item, pytest.Collector)
            )
            if not kept and not _is_folder(node) and node not in self.before:
                self.before[node] = Before(node)

    # Between runs

    def _why_not(self) -> str | None:
        """Why there is nothing to keep. A fixture that could not be set up is tried again by
        the next run, and not in a session that remembers the failure."""
        if self.session.shouldfail or self.session.shouldstop:
            return "the run was broken off"
        if any(broken is not None for _, broken in self.session._setupstate.stack.values()):
            return "a folder's set-up failed"
        stands = False
        for definitions in sharing.definitions(self.session).values():
            for definition in definitions:
                cached = definition.cached_result
                if cached is None or definition.scope not in SCOPES:
                    continue
                if cached[2] is not None:
                    return f"the fixture {definition.argname} could not be set up"
                stands = stands or not _module_of(definition.func).startswith(OF_TOOLS)
        return None if stands else "no fixture of session or package scope was set up"

    def _rest(self, request: dict[str, Any], fds: list[int], states: dict[str, loaded.State]) -> None:
        """The run is over for this worker: it lets go of all that belongs to it."""
        worker, config = self.server.worker, self.session.config
        assert worker is not None
        worker.results.send("finish", 1 if self.session.testsfailed else 0)
        for plugin in (worker, worker.board, worker.leaks):
            if plugin is not None:
                _unregister(self.session, plugin)
        self.server.worker = None
        # Tests look for what they left with the collector, which is blind to what is frozen.
        gc.unfreeze()
        for name, value in self.options.items():
            setattr(config.option, name, value)
        stacks.silence(request["manner"]["stacks_signal"])
        surroundings.outlive(fds[3])
        for fd in (*fds[:2], fds[3]):
            os.close(fd)
        self._speak_to(os.open(os.devnull, os.O_WRONLY))
        self._forget_finished()
        self.line.send({"type": "rests", "loaded": states})

    def _forget_finished(self) -> None:
        """A fixture remembers all that ever used it, to finish them before itself: in a session
        that goes on and on these are more with every test."""
        lists = [finalizers for finalizers, _ in self.session._setupstate.stack.values()]
        for definitions in sharing.definitions(self.session).values():
            lists.extend(definition._finalizers for definition in definitions if definition.scope in SCOPES)
        for finalizers in lists:
            needed: list[Any] = []
            seen: set[int] = set()
            for finalizer in reversed(finalizers):
                definition = _fixture_of(finalizer)
                if definition is None or (definition.cached_result is not None and id(definition) not in seen):
                    seen.add(id(definition))
                    needed.append(finalizer)
            finalizers[:] = reversed(needed)

    def _resume(self, request: dict[str, Any], fds: list[int]) -> None:
        """Another run."""
        stacks.answer(request["manner"]["stacks_signal"], fds[2])
        surroundings.die_with(fds[3])
        self._speak_to(fds[2])
        surroundings.identify(self.session.config, request["identity"])
        for node, before in self.before.items():
            before.restore(node)
        self.before = {}
        self.loaded.begins()
        self.session.config.pluginmanager.register(First(), "rpt-first")
        self.server._run(self.session, request, fds)

    def _speak_to(self, output: int) -> None:
        surroundings.take_descriptors(output)
        surroundings.own_capture(self.session.config)
        surroundings.own_fault_handler(self.session.config)

    def _tear_down(self) -> None:
        """As the session's end would, but what goes wrong is told."""
        try:
            self.session._setupstate.teardown_exact(None)
        except BaseException as error:
            with contextlib.suppress(OSError):
                self.line.send({"type": "torn_down", "error": wire.text(f"{type(error).__name__}: {error}")})


class First:
    """A plugin for the first item of a run that is not the first: packages that it does not
    lie in are torn down now. What goes wrong there is this item's error, as it would have
    been the error of whichever test was the last of them."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        _unregister(item.session, self)
        item.session._setupstate.teardown_exact(item)


class Pause(pytest.Item):
    """See `Resident.pause`. Never runs."""

    def runtest(self) -> None:
        raise AssertionError("it stands for no test")


class Before:
    """What a node was before tests ran."""

    def __init__(self, node: Any) -> None:
        self.values = dict(vars(node))
        held = [*self.values.values(), node.stash._storage, node.keywords._markers]
        self.contents = [(value, type(value)(value)) for value in held if type(value) in (list, dict, set)]

    def restore(self, node: Any) -> None:
        vars(node).clear()
        vars(node).update(self.values)
        for value, content in self.contents:
            value.clear()
            if isinstance(value, list):
                value.extend(content)
            else:
                value.update(content)
        if hasattr(node, "_initrequest"):
            node._initrequest()


def _fixture_of(finalizer: Any) -> Any:
    """The fixture that a finalizer finishes, where it is one of pytest's for that: a partial
    function, or before pytest 8 a function that holds it."""
    held = [getattr(getattr(finalizer, "func", None), "__self__", None)]
    if getattr(finalizer, "__module__", None) == "_pytest.fixtures":
        held += [cell.cell_contents for cell in getattr(finalizer, "__closure__", None) or ()]
    return next((value for value in held if isinstance(value, FixtureDef)), None)


def _unregister(session: Any, plugin: Any) -> None:
    session.config.pluginmanager.unregister(plugin)
    # Whoever registers later is told of all that were ever registered, and fixtures are looked
    # for in each plugin once. Who is remembered there never goes: with a board a descriptor
    # would stay of each run.
    history = getattr(session.config.hook.pytest_plugin_registered, "_call_history", None)
    if history:
        history[:] = [call for call in history if call[0].get("plugin") is not plugin]
    getattr(session._fixturemanager, "_holderobjseen", set()).discard(plugin)


def _is_folder(node: Any) -> bool:
    folder = getattr(pytest, "Directory", None)
    return folder is not None and isinstance(node, folder)


def _module_of(function: Any) -> str:
    return getattr(inspect.unwrap(getattr(function, "func", function)), "__module__", None) or ""
