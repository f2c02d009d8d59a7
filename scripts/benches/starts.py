"""Owns the table of starts: each program beside one that does nothing, and a worker of
10,000 collected tests from the request for it to the begin of its first test."""

from __future__ import annotations

import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from benches.common import BINARIES, environment, pytest9, trivial
from benches.suites import FILES, TESTS_PER_FILE

PROGRAMS = ("rpt-collect", "rpt-order", "rpt-shard", "rpt-run", "rpt-history", "rpt-serve")
#: A start takes so little that single ones say nothing.
STARTS_PER_ROUND = 20
#: `--stats`: `gw0  5000 tests in 0.4 s, first begun after 12.1 ms, ...`
BEGUN = re.compile(r"first begun after ([\d.]+) (ms|s)\b")


def starts(rounds: int) -> None:
    lines = {name: [str(BINARIES / name), "--version"] for name in PROGRAMS}
    lines["true, which does nothing"] = ["true"]
    took: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(rounds * STARTS_PER_ROUND):
        for name, line in lines.items():
            began = time.perf_counter()
            subprocess.run(line, stdout=subprocess.DEVNULL, check=True)
            took[name].append((time.perf_counter() - began) * 1000)
    print("\n### Starts\n\n| program | ms |\n|---|---|")
    for name, walls in took.items():
        print(f"| {name} | {statistics.median(walls):.1f} |")
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as place:
        folder = trivial(pathlib.Path(place, "suite"), FILES, TESTS_PER_FILE)
        for workers in (1, 2):
            found = [begun for _ in range(rounds) for begun in first_begun(folder, workers)]
            print(f"| first test of a worker, -n {workers} | {statistics.median(found):.1f} |")
    sys.stdout.flush()


def first_begun(folder: pathlib.Path, workers: int) -> list[float]:
    """How long after each worker was asked for its first test began, in milliseconds."""
    command = [str(BINARIES / "rpt-run"), "-n", str(workers), "--stats", "--no-history", "."]
    done = subprocess.run(
        command, cwd=folder, env=environment(pytest9()), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        sys.exit(f"scripts/bench: {' '.join(command)}: failed\n{done.stderr}")
    return [float(number) * (1 if unit == "ms" else 1000) for number, unit in BEGUN.findall(done.stderr)]
