"""Owns what a worker's process must change before it runs tests: descriptors,
process group, capture, temporary folders, identity. Everything pytest shares
between processes by accident after a fork is made the worker's own here.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import select
import signal
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import pytest

#: Hooks by which the terminal reporter prints; a worker has no terminal. The
#: reporter itself stays registered: options such as -ra and plugins need it.
TERMINAL_HOOKS = (
    "pytest_runtest_logstart",
    "pytest_runtest_logreport",
    "pytest_runtest_logfinish",
    "pytest_runtestloop",
    "pytest_sessionfinish",
    "pytest_keyboard_interrupt",
    "pytest_unconfigure",
    "pytest_warning_recorded",
)


def take_descriptors(output: int) -> None:
    """stdin is empty, stdout and stderr go to rpt."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def die_with(lifeline: int, whole_group: bool = False) -> None:
    """The kernel kills this process when the other end of `lifeline` closes, that
    is, when rpt is gone, however it went. `whole_group`: and its process group. Linux
    only; elsewhere a worker ends at its next write."""
    # A negative number is a group's.
    killed = -os.getpgrp() if whole_group else os.getpid()
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, killed)
    fcntl.fcntl(lifeline, set_signal, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poller = select.poll()
    poller.register(lifeline, 0)
    if poller.poll(0):
        # It closed before anybody could be told.
        os.kill(killed, signal.SIGKILL)


def outlive(lifeline: int) -> None:
    """Undoes `die_with`."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) & ~os.O_ASYNC)


def forget_exit_handlers() -> None:
    """Exit handlers registered before the fork are the server's: a worker that ran
    them would remove temporary folders that others still use."""
    atexit._clear()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    # The next finalizer that a test makes registers itself again.
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    _own_standard_exit_handlers()


def _own_standard_exit_handlers() -> None:
    """The standard library registers these once, at import, for whatever process
    comes to its end: what a test makes in a worker is theirs too."""
    if "logging" in sys.modules:
        atexit.register(sys.modules["logging"].shutdown)
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        # As multiprocessing's own children do: the server's are not this process's,
        # and its exit handler ends all that it finds here.
        process._children = set()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._finalizer_registry.clear()
        atexit.register(util._exit_function)


def own_capture(config: pytest.Config) -> None:
    """Global capture keeps its objects, to which loggers may hold references, but
    gets files of its own: after a fork they would share one offset."""
    manager = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    for stream, fd in (("out", 1), ("err", 2), ("in_", 0)):
        capture = getattr(capturing, stream, None)
        saved = getattr(capture, "targetfd_save", None)
        if saved is None:
            continue
        os.dup2(fd, saved, inheritable=False)
        if stream != "in_":
            with tempfile.TemporaryFile(buffering=0) as file:
                os.dup2(file.fileno(), capture.tmpfile.fileno(), inheritable=False)


def own_fault_handler(config: pytest.Config) -> None:
    """A crash's stack goes to the worker's stderr, not to the server's."""
    from _pytest import faulthandler as plugin

    key = getattr(plugin, "fault_handler_stderr_fd_key", None)
    if key is not None and key in config.stash:
        os.dup2(2, config.stash[key], inheritable=False)


def make_base_temporary_folder(config: pytest.Config) -> None:
    """Makes the folder that all workers' folders lie in. Where it cannot be made,
    tests that need one say so, as they do without workers."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        with contextlib.suppress(OSError):
            factory.getbasetemp()


def own_temporary_folder(config: pytest.Config, worker: str) -> None:
    """`popen-gw0` below the run's base folder, as pytest-xdist names it, so that
    `tmp_path_factory.getbasetemp().parent` is shared by all workers."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        return
    make_base_temporary_folder(config)
    if factory._basetemp is not None:
        factory._given_basetemp = Path(factory._basetemp, f"popen-{worker}")
    fresh_temporary_folder(factory)


def fresh_temporary_folder(factory: Any) -> None:
    """It has none yet."""
    factory._basetemp = None
    if hasattr(factory, "_next_number"):
        factory._next_number = {}
    if hasattr(factory, "_exit_stack"):
        factory._exit_stack = contextlib.ExitStack()


def identify(config: Any, identity: dict[str, Any]) -> None:
    """The worker's identity, by the names that pytest-xdist gave it."""
    os.environ["PYTEST_XDIST_WORKER"] = identity["worker"]
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(identity["count"])
    os.environ["PYTEST_XDIST_TESTRUNUID"] = identity["uid"]
    config.workerinput = {
        "workerid": identity["worker"],
        "workercount": identity["count"],
        "testrunuid": identity["uid"],
        "mainargv": sys.argv,
    }
    config.workeroutput = {}


def hush_terminal(config: pytest.Config) -> None:
    """The terminal reporter stays, but prints nothing of the tests."""
    manager = config.pluginmanager
    for name in ("terminalreporter", "terminalprogress", "terminalprogress-plugin"):
        plugin = manager.getplugin(name)
        for hook in TERMINAL_HOOKS if plugin is not None else ():
            with contextlib.suppress(ValueError):
                getattr(manager.hook, hook)._remove_plugin(plugin)


def write_no_report(config: pytest.Config) -> None:
    """A process that ran no test leaves the file of --junitxml alone."""
    from _pytest import junitxml

    plugin = config.stash.get(junitxml.xml_key, None)
    if plugin is not None:
        for hook in ("pytest_sessionfinish", "pytest_terminal_summary"):
            with contextlib.suppress(ValueError):
                getattr(config.hook, hook)._remove_plugin(plugin)
