"""Owns how a process leaves: at its session's end, or without that where nobody could tell the
difference. Of a large suite pytest's end of a session takes longer than a test, mostly because of what a
fork copies when it looks at things for the first time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from _pytest import junitxml

from rpt_shim import cache, orphans, standing, unfinished, versions, wire

if TYPE_CHECKING:
    from rpt_shim.server import Server

#: Options of pytest's by which something is written at a session's end.
WRITING = ("pastebin", "debug", "stepwise", "stepwise_skip", "cacheshow", "log_file")

#: Hooks around a process's whole run: whoever takes part in one may go on when it ends.
AROUND = ("pytest_cmdline_main", "pytest_runtestloop")

#: Where pytest's own code lies.
OF_PYTEST = os.path.dirname(os.path.abspath(junitxml.__file__)) + os.sep


def is_unheard(config: pytest.Config) -> bool:
    """Whether the end of this session does nothing but what is looked at when a process leaves: nobody
    but pytest acts there or when its loop has ended, and pytest has nothing to write."""
    return (
        versions.is_tested()
        and nobody_else_acts(config, *standing.LAST_HOOKS, "pytest_terminal_summary", *AROUND)
        and all(path.startswith(OF_PYTEST) for path in standing.files_of_cleanups(config))
        and config.stash.get(junitxml.xml_key, None) is None
        and not any(getattr(config.option, name, None) for name in WRITING)
        and not config.getini("log_file")
    )


def nobody_else_acts(config: pytest.Config, *hooks: str) -> bool:
    """Whether only pytest and rpt implement these hooks."""
    implementations = (found for name in hooks for found in getattr(config.hook, name).get_hookimpls())
    modules = (getattr(found.function, "__module__", None) or "" for found in implementations)
    return all(module.startswith(("_pytest.", "rpt_shim.")) for module in modules)


def worker_leaves(server: Server, session: Any) -> None:
    """A worker has run its tests. It leaves where nothing is left to be torn down, removed, shown or heard of."""
    if _worker_may(server, session):
        with contextlib.suppress(OSError):
            os.chdir(session.config.invocation_params.dir)
        leave(server, 1 if session.testsfailed else 0)


def server_leaves(server: Server) -> None:
    """The client of a fork is gone, and has said how its run ended. It leaves where pytest's cache is as this
    session would leave it."""
    if _server_may(server):
        assert server.ending is not None
        leave(server, server.ending["exit_code"])


def _worker_may(server: Server, session: Any) -> bool:
    worker = server.worker
    if server.prepared is None or worker is None or worker.light is None:
        return False
    return (
        worker.left_no_voice
        and server.resident is None
        and not session.config.workeroutput
        and not (session.shouldstop or session.shouldfail or session._setupstate.stack)
        and not any(uncaught for uncaught, _ in worker.light.uncaught)
        and atexit._ncallbacks() == worker.exit_handlers
        and not unfinished.has_threads()
        and not _has_temporary_folder(session.config)
        and not _holds_output(session.config)
        # Tests may have added to it.
        and is_unheard(session.config)
    )


def _server_may(server: Server) -> bool:
    prepared, config, ending = server.prepared, server.config, server.ending
    if not server.apart or prepared is None or config is None or ending is None:
        return False
    return (
        ending["exit_code"] in (0, 1)
        # pytest keeps what failed last.
        and not (ending["failures"] or ending["ran"])
        and not cache.holds_failures(config)
        and not _has_temporary_folder(config)
        and cache.is_known(config, prepared.known_ids)
        and is_unheard(config)
    )


def _has_temporary_folder(config: Any) -> bool:
    return getattr(getattr(config, "_tmp_path_factory", None), "_basetemp", None) is not None


def _holds_output(config: pytest.Config) -> bool:
    """Whether something was captured that no test was told of: it is shown at the end."""
    manager = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    files = [getattr(getattr(capturing, stream, None), "tmpfile", None) for stream in ("out", "err")]
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        return any(os.fstat(file.fileno()).st_size > 0 for file in files)
    except (AttributeError, OSError, ValueError):
        # Captured otherwise, or closed by a test.
        return True


def leave(server: Server, code: int) -> None:
    """Tells whoever waits, and ends this process. Returns where the session came to no tests."""
    if server.worker is not None:
        if server.output:
            server.worker.results.send("output", wire.packed(server.output))
        server.worker.results.send("finish", code)
    if server.ending is not None and server.last_client is not None:
        # A client that is gone needs no answer.
        with contextlib.suppress(OSError):
            server.last_client.send({"type": "finished", "exit_code": code, "text": server.said})
    if not server.forked and not server.entered:
        return
    # Threads end, exit handlers run and files are written, but the interpreter is not taken
    # apart object by object: in a worker most of them are the server's, and in both it takes
    # as long as hundreds of tests.
    unfinished.end_threads()
    atexit._run_exitfuncs()
    server.end_orphans()
    unfinished.close_files()
    sys.stdout.flush()
    sys.stderr.flush()
    if server.forked and server.worker is not None and server.resident is None and orphans.has_none():
        # Nothing is left to be heard of it or found below it: nobody need wait until the system
        # has taken the memory of a whole suite apart.
        server.worker.results.send("gone", code)
        os.closerange(0, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    if server.apart and server.last_client is not None:
        # Everything is done, and whoever forked this process sees its end: the client need
        # not wait for that either.
        server.last_client.close()
    os._exit(code)
