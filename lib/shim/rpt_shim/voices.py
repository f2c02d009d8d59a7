"""Owns whether a collection of garbage could be heard: whether anything that is alive, or is
garbage already, would say or do something when it is taken apart.

A process that ends collects garbage, because pytest does: what an object raises or warns of
when it is taken apart is reported then, and must not be lost. Over a large suite that takes
longer than hundreds of tests, and in a fork each page that the collector notes something in is
copied first. Where no object has a voice nobody could tell the difference, and it is left out:

- Everything that exists at the end of a run existed before the fork, or was made since.
- What existed before is looked at once, in the process that is forked; it does not matter
  whether it is still needed at the end, or hangs in a cycle that a test cut off: it is silent.
- What was made since is in the two young generations, as long as the collector moved nothing
  into the old one, and is looked at at the end.

The voices are finalizers (`__del__`, and what C calls tp_finalize has that name too), callbacks
of weak references, and what is suspended: generators, coroutines. Whoever's kind is not known
to be silent has one, and then garbage is collected.
"""

from __future__ import annotations

import gc
import io
import itertools
import operator
import os
import socket
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

import pytest

#: Files in memory say nothing.
IN_MEMORY = frozenset((io.BytesIO, io.StringIO))

#: What stands before a file, and what it calls it: it flushes and closes it, and only the file itself, a
#: `FileIO`, warns.
BEFORE_FILES = {
    io.BufferedReader: "raw",
    io.BufferedWriter: "raw",
    io.BufferedRandom: "raw",
    io.TextIOWrapper: "buffer",
}

#: Modules whose callbacks of weak references only forget an entry.
FORGETFUL = frozenset(("_weakrefset", "weakref", "logging", "trio._core._ki"))

#: The same, in C: of `_abc` and of `_thread`.
FORGETFUL_IN_C = frozenset(("_destroy", "_localdummy_destroyed"))

#: Whose suspended generators are hooks of pytest that go on: they are held by running frames.
OWN_MODULES = ("_pytest.", "pluggy.", "rpt_shim.")

#: Later versions of Python have no generations that would tell what is new.
HAS_GENERATIONS = (3, 9) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython"

#: A type's flag: the collector knows its instances (`Py_TPFLAGS_HAVE_GC`).
HAVE_GC = 1 << 14

#: How many objects are asked at a time what they hold.
CHUNK = 10_000


class Voices:
    """Of one process: asked before it forks, and in the fork at its end."""

    def __init__(self, config: pytest.Config, own_sockets: Iterable[int] = ()) -> None:
        """`own_sockets`: descriptors of rpt's own, which a worker closes before it runs."""
        self.own_sockets = frozenset(own_sockets)
        self.own_files = _files_of_pytest(config)
        self._begin(HAS_GENERATIONS and self.are_silent(gc.get_objects()))

    def own_nothing(self) -> None:
        """In a worker: its own sockets are closed, and what has their numbers now is a test's."""
        self.own_sockets = frozenset()

    def _begin(self, before_is_silent: bool) -> None:
        """What is made from here on is young."""
        self.before_is_silent = before_is_silent
        gc.freeze()
        gc.unfreeze()
        self._all_is_old()

    def _all_is_old(self) -> None:
        """Nothing is young from here on but what is made."""
        self.collections = _older_collections()
        #: As long as it is young nobody else has moved the young (`gc.freeze` does, uncounted).
        self.mark: list[None] = []

    def takes_in_new(self) -> None:
        """What exists now existed before, from here on."""
        if self._is_complete():
            self._begin(self.nobody_has_one())
        else:
            self._begin(HAS_GENERATIONS and self.are_silent(gc.get_objects()))

    def collect(self) -> None:
        """Collects what was looked at."""
        self.takes_in_new()
        gc.collect()
        self._all_is_old()

    def nobody_has_one(self) -> bool:
        """Whether nothing could be heard of a collection now."""
        if not (self.before_is_silent and self._is_complete()):
            return False
        # One after the other: a list of both would be in itself, and hold all that it names.
        return self.are_silent(gc.get_objects(generation=0)) and self.are_silent(gc.get_objects(generation=1))

    def _is_complete(self) -> bool:
        """Whether everything that was made since is young."""
        return _older_collections() == self.collections and (self._is_marked(0) or self._is_marked(1))

    def _is_marked(self, generation: int) -> bool:
        # A generator would be young itself, and hold the list that it is in.
        return any(map(operator.is_, gc.get_objects(generation=generation), itertools.repeat(self.mark)))

    def are_silent(self, objects: list[Any]) -> bool:
        """Of objects that the collector knows, and of what they hold that it does not."""
        try:
            return self._are_silent(objects)
        except Exception:
            # Asked for its state something broke, or its class cannot be compared.
            return False

    def _are_silent(self, objects: list[Any]) -> bool:
        kinds = set(map(type, objects))
        held = set(kinds)
        for start in range(0, len(objects), CHUNK):
            held.update(map(type, gc.get_referents(*objects[start : start + CHUNK])))
        unknown = held - kinds
        if any(_may_have_one(kind) and not kind.__flags__ & HAVE_GC for kind in unknown):
            return False
        speaking = {kind for kind in kinds if _may_have_one(kind)}
        return not any(self._has_one(thing, type(thing)) for thing in objects if type(thing) in speaking)

    def _has_one(self, thing: Any, kind: type) -> bool:
        if kind in IN_MEMORY:
            return False
        if kind in BEFORE_FILES:
            return _stands_before_another(thing)
        if kind is io.FileIO:
            return not (thing.closed or not thing.closefd or thing.fileno() in self.own_files)
        if kind is socket.socket:
            return thing.fileno() >= 0 and thing.fileno() not in self.own_sockets
        if issubclass(kind, weakref.ref):
            return issubclass(kind, weakref.WeakMethod) or not _only_forgets(thing.__callback__)
        if kind is types.GeneratorType:
            frame = thing.gi_frame
            return not (
                frame is None
                or frame.f_globals.get("__name__", "").startswith(OWN_MODULES)
                or frame.f_code.co_name == "<genexpr>"
            )
        return not (kind.__module__ == "_pytest.capture" and issubclass(kind, io.TextIOWrapper))


def _may_have_one(kind: type) -> bool:
    return hasattr(kind, "__del__") or issubclass(kind, weakref.ref)


def _stands_before_another(stream: Any) -> bool:
    """Before somebody's own object, which it would ask to write and to close."""
    while type(stream) in BEFORE_FILES:
        try:
            stream = getattr(stream, BEFORE_FILES[type(stream)])
        except (AttributeError, ValueError):
            # They were parted, or never one; of text that is None.
            return False
    return stream is not None and type(stream) not in IN_MEMORY and type(stream) is not io.FileIO


def _only_forgets(callback: Any) -> bool:
    if callback is None:
        return True
    if isinstance(callback, types.FunctionType):
        return callback.__module__ in FORGETFUL
    return isinstance(callback, types.BuiltinFunctionType) and callback.__name__ in FORGETFUL_IN_C


def _older_collections() -> tuple[int, int]:
    """How often the collector may have moved something into the old generation."""
    _, middle, old = gc.get_stats()
    return middle["collections"], old["collections"]


def _files_of_pytest(config: Any) -> frozenset[int]:
    """Descriptors of files that pytest holds as long as its session lasts."""
    manager = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    files = [getattr(getattr(capturing, name, None), "tmpfile", None) for name in ("in_", "out", "err")]
    handler = getattr(config.pluginmanager.getplugin("logging-plugin"), "log_file_handler", None)
    if getattr(handler, "baseFilename", None) == os.devnull:
        files.append(handler.stream)
    found = set()
    for file in files:
        try:
            found.add(file.fileno())
        except (AttributeError, OSError, ValueError):
            # It holds none, or none any more.
            continue
    return frozenset(found)
