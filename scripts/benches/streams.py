"""Owns the tables of 100,000 tests: the filters, with and without a history, and the memory of rpt-run."""

from __future__ import annotations

import json
import pathlib
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from benches.common import BINARIES, environment, measure, pytest9, trivial

COUNT = 100_000
NODE_ID = "tests/unit/test_module_{0:03}.py::TestClass::test_behaviour[{1}]"


def listed(file: pathlib.Path) -> None:
    """COUNT tests in 100 files, as rpt-collect lists them."""
    with open(file, "w", encoding="utf-8") as out:
        for number in range(COUNT):
            record = {
                "type": "test",
                "node_id": NODE_ID.format(number // 1000, number),
                "file_path": f"tests/unit/test_module_{number // 1000:03}.py",
                "lineno": number % 1000 + 1,
                "name": f"test_behaviour[{number}]",
                "class_name": "TestClass",
                "markers": ["parametrize"],
                "skip": False,
                "xfail": False,
            }
            out.write(json.dumps(record, separators=(",", ":")) + "\n")


def remembered(folder: pathlib.Path, runs: int) -> None:
    """A history of so many runs of those tests, each with some failures."""
    for run in range(runs):
        chance = random.Random(run)
        lines = []
        for number in range(COUNT):
            record = {
                "type": "result",
                "node_id": NODE_ID.format(number // 1000, number),
                "outcome": "failed" if chance.random() < 0.002 else "passed",
                "duration_ms": round(chance.lognormvariate(2, 1), 3),
                "message": None,
                "worker": "gw0",
            }
            lines.append(json.dumps(record, separators=(",", ":")))
        command = [BINARIES / "rpt-history", "record", "--history", "history.db"]
        subprocess.run(command, input="\n".join(lines).encode(), cwd=folder, check=True, stdout=subprocess.DEVNULL)


def streams(rounds: int) -> None:
    """The filters with COUNT tests in a pipe."""
    history = ["--history", "history.db"]
    commands = {
        "rpt-order --by given": ["rpt-order", "--by", "given"],
        "rpt-order, 5 runs remembered": ["rpt-order", *history],
        "rpt-order --by feedback": ["rpt-order", "--by", "feedback", *history],
        "rpt-shard --index 0 --total 8": ["rpt-shard", "--index", "0", "--total", "8", *history],
    }
    env = environment(sys.executable)
    costs: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        folder = pathlib.Path(name)
        listed(folder / "tests.jsonl")
        measure("rpt-order --by given --format msgpack <tests.jsonl >tests.msgpack", folder, env)
        remembered(folder, 5)
        for turn in range(rounds + 1):
            for title, command in commands.items():
                for form in ("jsonl", "msgpack"):
                    line = f"cat tests.{form} | {shlex.join(command)} 2>/dev/null | cat >/dev/null"
                    cost = measure(line, folder, env)
                    # The first turn warms the caches.
                    if turn > 0:
                        costs.setdefault((title, form), []).append(cost)
    print(f"\n### {COUNT:,} tests in a pipe\n\n| filter | form | wall ms | peak memory MB |\n|---|---|---|---|")
    for (title, form), taken in costs.items():
        wall = statistics.median(cost["wall_s"] for cost in taken)
        print(f"| {title} | {form} | {wall * 1000:.0f} | {max(cost['rss_mb'] for cost in taken):.0f} |")
    sys.stdout.flush()


def memory() -> None:
    python = pytest9()
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        folder = trivial(pathlib.Path(name, "suite"), 100, 1000)
        env = environment(python)
        collect = subprocess.Popen(
            [BINARIES / "rpt-collect"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        run = subprocess.Popen(
            [BINARIES / "rpt-run", "-n", "2"], cwd=folder, env=env, stdin=collect.stdout, stdout=subprocess.DEVNULL
        )
        collect.stdout.close()
        highest = 0
        while run.poll() is None:
            try:
                with open(f"/proc/{run.pid}/status", encoding="utf-8") as file:
                    # VmHWM is the kernel's own high-water mark: looking seldom loses nothing.
                    highest = next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), highest)
            except OSError:
                pass
            time.sleep(0.02)
        collect.wait()
        if run.returncode != 0:
            sys.exit(f"scripts/bench: rpt-run ended with {run.returncode}")
    print(f"\n### Peak memory of rpt-run, 100,000 tests\n\n| MB |\n|---|\n| {highest / 1024:.0f} |")
    sys.stdout.flush()
