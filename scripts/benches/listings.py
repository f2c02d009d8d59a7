"""Owns the table of kept listings, and of what watching a collection costs."""

from __future__ import annotations

import pathlib
import shlex
import statistics
import tempfile
import time

from benches.common import environment, measure, median_ms, pytest9, trivial
from real_suites import ROOT

# Collects, or runs, with or without what watches a collection.
WATCHED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import pytest
from rpt_shim.dependencies import Dependencies

class Watch:
    def __init__(self):
        self.dependencies = Dependencies(time.time()) if sys.argv[2] == "watched" else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self):
        if self.dependencies is not None:
            self.dependencies.stop()

sys.exit(pytest.main(["-p", "no:terminal", *sys.argv[3:]], plugins=[Watch()]))
"""


def watching(python: str, rounds: int) -> dict[tuple[str, str], float]:
    """CPU milliseconds of pytest's own collection and run, watched and alone, in turns."""
    env = environment(python)
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        folder = trivial(pathlib.Path(name, "suite"), 100, 100)
        script = pathlib.Path(name, "watched.py")
        script.write_text(WATCHED)
        for turn in range(rounds + 1):
            for what, option in (("collection", "--collect-only"), ("run", "--continue-on-collection-errors")):
                for how in ("alone", "watched"):
                    command = [python, str(script), str(ROOT / "lib" / "shim"), how, option]
                    cpu = measure(shlex.join(command), folder, env)["cpu_s"]
                    if turn > 0:
                        taken.setdefault((what, how), []).append(cpu)
    return {key: statistics.median(values) * 1000 for key, values in taken.items()}


def listings(rounds: int) -> None:
    """A row is printed as soon as it is known: all of them take minutes."""
    print("\n### Kept listings\n\n| what | ms | of pytest |\n|---|---|---|", flush=True)

    def row(title: str, value: float, ratio: str = "") -> None:
        print(f"| {title} | {value:.0f} | {ratio} |", flush=True)

    python = pytest9()
    env = environment(python)
    plain = f"{shlex.quote(python)} -m pytest --collect-only -qq >/dev/null"
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        for files, tests in ((100, 100), (600, 100), (1000, 100)):
            folder = trivial(pathlib.Path(name, str(files)), files, tests)
            title = f"{files * tests:,} tests"
            # The second one holds.
            for _ in range(2):
                measure("rpt-collect >/dev/null", folder, env)
            kept = median_ms("rpt-collect >/dev/null", folder, env, rounds)
            if files == 1000:
                line = "rpt-collect | rpt-order --by given | rpt-shard --index 0 --total 4 >/dev/null"
                row(f"{title}: rpt-collect \\| rpt-order \\| rpt-shard", median_ms(line, folder, env, rounds))
                continue
            pytest = median_ms(plain, folder, env, 3)
            row(f"{title}: pytest --collect-only", pytest)
            row(f"{title}: kept", kept, f"{kept / pytest:.3f}")
            row(f"{title}: kept, peak memory MB", measure("rpt-collect", folder, env)["rss_mb"])
            if files == 100:

                def change(turn: int, folder: pathlib.Path = folder) -> None:
                    with open(folder / "test_050.py", "a", encoding="utf-8") as file:
                        file.write(f"def test_more_{turn}(): pass\n")
                    time.sleep(0.05)

                alone = median_ms("rpt-collect >/dev/null", folder, env, rounds, change)
                row(f"{title}: one changed file", alone, f"{alone / pytest:.2f}")
                whole = median_ms("rpt-collect --force >/dev/null", folder, env, rounds)
                row(f"{title}: rpt-collect --force", whole, f"{whole / pytest:.2f}")
    cost = watching(python, rounds)
    for what in ("collection", "run"):
        alone, watched = cost[what, "alone"], cost[what, "watched"]
        row(f"10,000 tests: CPU of pytest's {what}", alone)
        row("10,000 tests: the same, its collection watched", watched, f"{watched / alone:.3f}")
