"""Owns `--detect-leaks`: what a test left behind, by looking at the process before
and after it. What a wider fixture keeps is its own until it is torn down.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from rpt_shim import orphans, wire

#: Processes and threads that are about to end are waited for so long, in seconds.
PATIENCE = 0.1

#: Variables that pytest changes by itself.
_PYTEST_S_OWN = {"PYTEST_CURRENT_TEST", "PYTEST_VERSION"}

#: Kinds of what can go by itself a moment later.
_THINGS = ("process", "thread", "file")

Left = tuple[str, Any]


class Leaks:
    """The plugin."""

    def __init__(self) -> None:
        #: What the test that ended last left behind, for people.
        self.found: list[str] = []
        self.before: dict[Left, str] = {}
        #: What fixtures that are still set up hold, by the fixture.
        self.held: dict[str, dict[Left, str]] = {}
        self.ended_fixtures: dict[Left, str] = {}
        #: States that a wider fixture found and may come back to.
        self.known: set[Left] = set()
        orphans.adopt()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, None]:
        self.found = []
        self.before = _look()
        self.ended_fixtures = {}
        yield
        self.found = self._compare()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, None]:
        if fixturedef.scope == "function":
            yield
            return
        name = f"{fixturedef.scope} fixture '{fixturedef.argname}'"

        def torn_down() -> None:
            for left in self.held.pop(name, {}):
                self.ended_fixtures[left] = name

        # Finalizers run in reverse order: this one after the fixture's own.
        fixturedef.addfinalizer(torn_down)
        before = _look()
        self.known.update(left for left in before if left[0] not in _THINGS)
        yield
        self.held[name] = {left: text for left, text in _look().items() if left not in before}

    def _compare(self) -> list[str]:
        held = {left for holding in self.held.values() for left in holding}
        ended = self.ended_fixtures

        def left_behind() -> dict[Left, str]:
            now = _look()
            excused = held | self.known
            new = {left: text for left, text in now.items() if left not in self.before and left not in excused}
            # What a fixture held before this test and does not any more, it left behind.
            new.update({left: text for left, text in now.items() if left in ended})
            names = {value[0] for kind, value in now if kind == "environment"}
            for left in self.before:
                if left[0] == "environment" and left[1][0] not in names and left not in ended:
                    new["removed", left[1][0]] = f"environment variable {left[1][0]} removed"
            return new

        left = left_behind()
        until = time.monotonic() + PATIENCE
        while any(kind in _THINGS for kind, _ in left) and time.monotonic() < until:
            gc.collect()
            time.sleep(0.005)
            left = left_behind()
        return [wire.text(f"{text} (left by the {ended[key]})" if key in ended else text) for key, text in left.items()]


def _look() -> dict[Left, str]:
    """Everything that can be left behind, by what tells it apart, with words for people."""
    return dict([*_processes(), *_threads(), *_files(), *_settings()])


def _processes() -> Iterator[tuple[Left, str]]:
    for pid in sorted(orphans.children()):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = " ".join(file.read().replace(b"\0", b" ").decode("utf-8", "replace").split())
        except OSError:
            continue
        if state != b"Z":
            yield ("process", pid), f"process {pid} ({command[:200]})"


def _threads() -> Iterator[tuple[Left, str]]:
    for thread in threading.enumerate():
        yield ("thread", thread.ident), f"thread {thread.name!r}"


def _files() -> Iterator[tuple[Left, str]]:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in sorted(os.listdir(folder), key=int):
        try:
            status = os.fstat(int(name))
            target = os.readlink(f"{folder}/{name}") if folder.startswith("/proc") else ""
        except OSError:
            continue
        yield ("file", (int(name), status.st_dev, status.st_ino)), f"open file {name} ({target or 'descriptor'})"


def _settings() -> Iterator[tuple[Left, str]]:
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = "a folder that is gone"
    yield ("cwd", cwd), f"working directory {cwd}"
    mask = os.umask(0o077)
    os.umask(mask)
    yield ("umask", mask), f"umask {mask:03o}"
    environment = {name: value for name, value in os.environ.items() if name not in _PYTEST_S_OWN}
    for name, value in environment.items():
        yield ("environment", (name, value)), f"environment variable {name} set"
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        label = number.name if isinstance(number, signal.Signals) else str(number)
        yield ("signal", (number, id(handler), repr(handler))), f"handler of {label}: {handler!r}"
