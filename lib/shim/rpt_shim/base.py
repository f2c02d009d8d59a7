"""Owns the base process: an interpreter that holds pytest and what the project's `preload` names,
and nothing that is read from the project. It has no session itself and is forked for each: that
saves starting Python and importing pytest.

A session in a fork must be what it would be in an interpreter of its own:

- Every file that the base loaded is compared before each fork, and every folder in which an
  import looks: whatever is not as it was ends the base, and another one is started.
- What it loaded is in the session's record of what it depends on: the record is the same, begun here.
- Installed plugins are imported by pytest in the fork, since it rewrites their assertions by its
  configuration. So are conftests and all else.
- What an interpreter has of its own is made anew: random numbers, what imports know of folders.
- Where a module of `preload` starts a thread or warns when it is imported, there is no base.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import site
import socket
import sys
import threading
import warnings
from typing import Any

from _pytest.config import default_plugins

from rpt_shim import interpreter, keeper, wire
from rpt_shim.children import CHILD_POLL, Children
from rpt_shim.dependencies import Dependencies, entries_of, installed_prefixes, state_of

#: How modules are named that lie in a folder.
ENDINGS = (".py", ".pyc", ".so", ".pyd")


class Held:
    """What a base has loaded."""

    def __init__(self, record: Dependencies, preload: list[str]) -> None:
        self.record = record
        #: What of `preload` is not loaded, and why.
        self.notes: list[str] = []
        #: Something was loaded that is not in a fork what it is in an interpreter of its own.
        self.is_unfit = False
        for name in default_plugins:
            importlib.import_module(f"_pytest.{name}")
        self.installed = tuple(prefix + os.sep for prefix in installed_prefixes())
        for name in preload:
            self._load(name)
        self.names = {name.partition(".")[0] for name in sys.modules}
        record.busy = True
        self.states = {path: state_of(path) for path in self._files()}
        self.shadows = self._shadows()
        # What was written since this process began may have been so after it was loaded.
        self.is_young = any(state and max(state[0], state[3]) >= record.began_ns for state in self._written())
        record.busy = False

    def _load(self, name: str) -> None:
        """A module of the project would be loaded before pytest could rewrite it, and would be
        out of date with each edit."""
        try:
            found = importlib.util.find_spec(name.partition(".")[0])
            places = [found.origin, *(found.submodule_search_locations or ())] if found else []
            paths = [os.path.realpath(place) for place in places if place and os.path.isabs(place)]
            if any(not path.startswith(self.installed) for path in paths):
                self.notes.append(f"{name}: {paths[0]} is not installed")
                return
            outer = warnings.filters
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                always = warnings.filters[0]
                importlib.import_module(name)
                # What the module has set stays.
                outer[:] = [entry for entry in warnings.filters if entry is not always]  # type: ignore[index]
        except Exception as error:
            self.notes.append(f"{name}: {type(error).__name__}: {error}")
        else:
            # What says that a file was not closed nobody is shown who does not ask for it.
            warned = [warning for warning in warned if not issubclass(warning.category, ResourceWarning)]
            if warned:
                self._is_unfit(f"{name}: it warns when it is imported, which pytest shows: {warned[0].message}")
        # A fork has the thread that forks, and no other.
        if threading.active_count() > 1:
            self._is_unfit(f"{name}: it starts a thread when it is imported")

    def _is_unfit(self, note: str) -> None:
        if not self.is_unfit:
            self.notes.append(note)
        self.is_unfit = True

    def _files(self) -> list[str]:
        """Modules, what says where modules are, and the interpreter."""
        paths = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        paths += [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg"), *sys.path]
        for folder in [*site.getsitepackages(), site.getusersitepackages()]:
            paths += [
                folder,
                *(os.path.join(folder, name) for name in entries_of(folder) or () if name.endswith(".pth")),
            ]
        return [path for path in dict.fromkeys(paths) if path and self._is_fixed(path)]

    def _is_fixed(self, path: str) -> bool:
        """Whether any change of it counts: of a folder of the project only what shadows does."""
        return os.path.isfile(path) or not os.path.exists(path) or os.path.join(path, "").startswith(self.installed)

    def _written(self) -> list[Any]:
        return [state for path, state in self.states.items() if os.path.isfile(path)]

    def _shadows(self) -> set[str]:
        """What in folders that are not installed is named as a module that is loaded."""
        found = set()
        for folder in dict.fromkeys(sys.path):
            if os.path.join(folder, "").startswith(self.installed):
                continue
            for entry in entries_of(folder) or ():
                name, ending = os.path.splitext(entry.rstrip("/"))
                is_module = ending in ENDINGS or (entry.endswith("/") and _is_package(os.path.join(folder, entry)))
                if is_module and name.partition(".")[0] in self.names:
                    found.add(os.path.join(folder, entry))
        return found

    def is_stale(self) -> bool:
        """Whether a new interpreter might load something else."""
        record = self.record
        record.busy = True
        try:
            return (
                self.is_young
                or any(state_of(path) != state for path, state in self.states.items())
                or any(state_of(path) != state for path, (state, _) in record.opened.items())
                or record.changed_listing({}) is not None
                or self._shadows() != self.shadows
            )
        finally:
            record.busy = False


def serve(
    control_socket: socket.socket, settings: dict[str, Any]
) -> tuple[socket.socket, dict[str, Any], Dependencies | None]:
    """Forks for whoever asks, until nobody is there who could. Returns in each fork, with the
    connection, the settings and the record of its session."""
    control = wire.Control(control_socket)
    record = Dependencies(settings["watched_since"])
    held = Held(record, settings["base"])
    children = Children()
    while True:
        poll = select.poll()
        for fd in (control.fileno(), *children.descriptors()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(CHILD_POLL * 1000 if children.must_be_asked() else None)
        for _ in children.ended():
            # Nobody is told of it but the system.
            pass
        if all(fd != control.fileno() for fd, _ in ready):
            continue
        received = control.receive()
        if received is None:
            # What it forked has connections of its own.
            os._exit(0)
        asked, fds = received
        if held.is_unfit:
            control.send({"type": "unfit", "notes": [wire.text(note) for note in held.notes]})
            os._exit(0)
        if held.is_stale():
            control.send({"type": "stale"})
            os._exit(0)
        # No session does this.
        record.busy = True
        pid = children.fork("")
        if pid == 0:
            control.close()
            return _become(asked, fds, record)
        record.busy = False
        for fd in fds:
            os.close(fd)
        control.send({"type": "forked", "pid": pid, "notes": [wire.text(note) for note in held.notes]})


def _become(
    settings: dict[str, Any], fds: list[int], record: Dependencies | None
) -> tuple[socket.socket, dict[str, Any], Dependencies | None]:
    """A session's process. `record` looks at nothing yet."""
    os.setpgid(0, 0)
    control, board, output = fds
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    keeper.keep(is_worker=False)
    importlib.invalidate_caches()
    # Python's own generators of random numbers see to it themselves.
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
    interpreter.look_like_pytest(settings["args"])
    since = settings["watched_since"]
    assert record is not None
    if since is None:
        record.stop()
        record = None
    else:
        record.goes_on(since)
    return socket.socket(fileno=control), {**settings, "board": board}, record


def _is_package(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, f"__init__{ending}")) for ending in ENDINGS)
