"""Owns the table of the daemon: warm runs beside plain pytest's."""

from __future__ import annotations

import pathlib
import shlex
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable

from benches.common import BINARIES, environment, measure, pytest9, trivial
from daemon import Client, Daemon, cpu_seconds, resident_kb, tree
from real_suites import SUITES, fetch

#: For how long an idle daemon is watched, in seconds.
IDLE = 5.0

#: One line of the table: what it is called, the warm command, pytest's, and what is edited before.
Row = tuple[str, str, str, Callable[[int], None] | None]


def serve(rounds: int) -> None:
    print("\n### The daemon\n\n| what | pytest ms | warm ms | of pytest |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        place = pathlib.Path(name)
        folder = trivial(place / "suite", 100, 100)
        # What is imported by a conftest is source to every test.
        (folder / "product.py").write_text("ANSWER = 0\n")
        (folder / "conftest.py").write_text("import product\n")
        _suite(place / "one", folder, "10,000 tests", pytest9(), "test_050.py::test_7", "product.py", rounds)
        jinja2 = fetch(SUITES["jinja2"])
        source = place / "jinja2"
        shutil.copytree(jinja2.folder, source)
        one = "tests/test_filters.py::TestFilter::test_default"
        _suite(place / "two", source, "jinja2", str(jinja2.python), one, "tests/conftest.py", rounds)


def _suite(
    runtime: pathlib.Path, folder: pathlib.Path, title: str, python: str, one: str, used: str, rounds: int
) -> None:
    env = environment(python)
    daemon = Daemon(BINARIES, runtime, env)
    try:
        _rows(daemon, folder, title, python, one, used, rounds)
        _ping(daemon, folder, title)
        status = daemon.warmed()
        processes = tree(daemon.pid)
        before = cpu_seconds(processes)
        time.sleep(IDLE)
        spent = cpu_seconds(processes) - before
        own, servers = status["memory_kb"] / 1024, [resident_kb(pid) / 1024 for pid in processes if pid != daemon.pid]
        print(f"| {title}: CPU of {IDLE:.0f} s idle, all processes | | {spent * 1000:.0f} | |")
        print(f"| {title}: memory MB: daemon, and its processes | | {own:.0f}, {sum(servers):.0f} | |", flush=True)
    finally:
        daemon.end()


def _rows(daemon: Daemon, folder: pathlib.Path, title: str, python: str, one: str, used: str, rounds: int) -> None:
    pytest = f"{shlex.quote(python)} -m pytest -q"
    test_file = folder / one.split("::")[0]

    def appended(path: pathlib.Path) -> Callable[[int], None]:
        return lambda turn: path.write_text(f"{path.read_text()}\n# {turn}\n")

    rows: list[Row] = [
        ("one test by id", f"rpt-run {one}", f"{pytest} {one}", None),
        ("listing, unchanged", "rpt-collect", f"{pytest} --collect-only", None),
        ("all tests", "rpt-collect | rpt-run", pytest, None),
        ("one test after an edit of its file", f"rpt-run {one}", f"{pytest} {one}", appended(test_file)),
        (f"one test after an edit of {used}", f"rpt-run {one}", f"{pytest} {one}", appended(folder / used)),
    ]
    # The first run is done alone and makes the daemon collect; the second one finds it warm.
    for _ in range(2):
        measure(rows[0][1], folder, daemon.env)
        daemon.warmed()
    for name, warm, plain, edit in rows:
        walls: dict[str, list[float]] = {warm: [], plain: []}
        # All tests take long; an edited suite is collected as a whole.
        for turn in range(rounds if "all" in name or edit else 3 * rounds):
            for line in (warm, plain) if turn % 2 else (plain, warm):
                daemon.warmed()
                if edit is not None:
                    edit(2 * turn + (line == plain))
                    if line == plain:
                        # It is pytest's time that counts here, not that of both.
                        time.sleep(0.2)
                        daemon.warmed()
                walls[line].append(measure(f"{line} >/dev/null", folder, daemon.env)["wall_s"])
        ours, theirs = (statistics.median(walls[line]) * 1000 for line in (warm, plain))
        print(f"| {title}: {name} | {theirs:.0f} | {ours:.1f} | {ours / theirs:.3f} |", flush=True)


def _ping(daemon: Daemon, folder: pathlib.Path, title: str) -> None:
    """While a run is on."""
    run = threading.Thread(
        target=subprocess.run,
        args=(["bash", "-c", "rpt-collect | rpt-run"],),
        kwargs={"cwd": folder, "env": daemon.env, "capture_output": True, "stdin": subprocess.DEVNULL},
    )
    waited = []
    with Client(daemon.socket) as client:
        run.start()
        while run.is_alive():
            began = time.perf_counter()
            client.ask({"type": "ping"})
            waited.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)
        run.join()
    waited.sort()
    print(f"| {title}: ping while a run is on: median, 99th of 100 | | ", end="")
    print(f"{statistics.median(waited):.2f}, {waited[int(len(waited) * 0.99)]:.2f} | |", flush=True)
