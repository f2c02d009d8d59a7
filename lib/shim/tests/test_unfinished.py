"""Tests of what a process sees to before it leaves."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

from rpt_shim import unfinished

SHIM = Path(__file__).resolve().parent.parent


def test_files_with_a_name_that_are_written_are_known(tmp_path):
    before = unfinished.written_files()
    with (
        open(tmp_path / "written", "w") as written,
        open(tmp_path / "written") as read,
        open(tmp_path / "gone", "w") as gone,
    ):
        os.unlink(tmp_path / "gone")
        found = unfinished.written_files() - before
        assert found == {written.fileno()}
        assert not {read.fileno(), gone.fileno()} & found
    assert unfinished.written_files() == before


def test_what_writes_into_another_is_written_first(tmp_path):
    path = tmp_path / "text"
    file = open(path, "w")  # noqa: SIM115
    file.write("kept")
    assert path.read_text() == ""
    unfinished.flush_files()
    assert path.read_text() == "kept"
    file.close()


def test_threads_for_which_python_would_not_wait_are_none():
    gate = threading.Event()
    daemon = threading.Thread(target=gate.wait, daemon=True)
    daemon.start()
    assert not unfinished.has_threads()
    other = threading.Thread(target=gate.wait)
    other.start()
    assert unfinished.has_threads()
    gate.set()
    unfinished.end_threads()
    assert not unfinished.has_threads()


def test_who_does_not_come_to_an_end_is_named():
    program = (
        "import os, threading, time\n"
        "from rpt_shim import unfinished\n"
        "unfinished.PATIENCE_S = 0.1\n"
        "threading.Thread(target=time.sleep, args=(600,), name='endless').start()\n"
        "unfinished.end_threads()\n"
        "os._exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SHIM)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    assert "left after 0.1 s with threads that still run: endless" in done.stderr


def test_what_a_fork_found_is_not_closed_by_it(tmp_path):
    found = gzip.open(tmp_path / "found.gz", "wt")  # noqa: SIM115
    files = unfinished.flush_files()
    pid = os.fork()
    if pid == 0:
        unfinished.forked(files, had_threads=False)
        made = gzip.open(tmp_path / "made.gz", "wt")  # noqa: SIM115
        made.write("made")
        unfinished.close_files()
        os._exit(0 if made.closed and not found.closed else 1)
    assert os.waitpid(pid, 0)[1] == 0
    found.write("found")
    found.close()
    for name in ("found", "made"):
        with gzip.open(tmp_path / f"{name}.gz", "rt") as file:
            assert file.read() == name


def test_only_files_are_asked_what_they_are(tmp_path):
    class Lazy:
        @property
        def __class__(self):
            raise AssertionError("it was asked")

    held = [weakref.proxy(threading.Event()), Lazy()]
    with open(tmp_path / "text", "w") as file:
        assert file in unfinished.flush_files()
    assert len(held) == 2
