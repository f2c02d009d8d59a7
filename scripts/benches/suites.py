"""Owns the tables of whole runs: pytest, pytest-xdist and the pipeline side by side."""

from __future__ import annotations

import itertools
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from benches.common import environment, measure, pytest9, trivial
from real_suites import FOLDER, ROOT, SUITES

FILES, TESTS_PER_FILE = 100, 100
# As it stands in a table.
PIPELINE = "rpt-collect \\| rpt-order \\| rpt-run -n 2"
# Without what an earlier collection left.
COLD = PIPELINE.replace("collect", "collect --force")


def xdist_folder() -> str:
    """pytest-xdist in a folder of its own, for PYTHONPATH."""
    folder = FOLDER / "xdist"
    if not folder.exists():
        requirements = ROOT / "scripts" / "requirements" / "xdist.txt"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
        quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
        subprocess.run([*pip, "--target", str(folder), "--requirement", str(requirements)], check=True, env=quiet)
    return str(folder)


def interleaved(
    commands: dict[str, tuple[str, dict[str, str]]], folder: pathlib.Path, rounds: int
) -> dict[str, dict[str, float]]:
    """Medians for each command; each begins as many rounds as the others."""
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    memory = {name: measure(line, folder, env, memory=True)["pss_mb"] for name, (line, env) in commands.items()}
    names = list(commands)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            samples[name].append(measure(commands[name][0], folder, commands[name][1]))
    return {
        name: {
            "wall": statistics.median(sample["wall_s"] for sample in taken),
            "cpu": statistics.median(sample["cpu_s"] for sample in taken),
            "memory": memory[name],
        }
        for name, taken in samples.items()
    }


def side_by_side(name: str, folder: pathlib.Path, python: str, arguments: str, rounds: int) -> None:
    plain = environment(python)
    quoted = shlex.quote(python)
    commands = {
        "pytest": (f"{quoted} -m pytest -q {arguments}", plain),
        "pytest -n 2 (xdist)": (
            f"{quoted} -m pytest -q -n 2 {arguments}",
            environment(python, PYTHONPATH=xdist_folder()),
        ),
        PIPELINE: (f"rpt-collect {arguments} | rpt-order | rpt-run -n 2", plain),
        COLD: (f"rpt-collect --force {arguments} | rpt-order | rpt-run -n 2", plain),
    }
    if name == "trivial":
        # In a copy that never sees bytecode: one that others have written would be used.
        copy = trivial(folder.parent / "unwritten", FILES, TESTS_PER_FILE)
        for title, of in (("pytest", "pytest"), ("pipeline", PIPELINE)):
            line = f"cd {shlex.quote(str(copy))} && {commands[of][0]}"
            commands[f"{title}, no bytecode written"] = (line, {**plain, "PYTHONDONTWRITEBYTECODE": "1"})
    medians = interleaved(commands, folder, rounds)
    if name == "trivial":
        print(f"\n### {FILES * TESTS_PER_FILE:,} trivial tests in {FILES} files\n")
    else:
        print(f"\n### {name} {SUITES[name].version}\n")
    print("| command | wall s | CPU s | memory MB | wall over pytest | wall over xdist |\n|---|---|---|---|---|---|")
    xdist = medians["pytest -n 2 (xdist)"]["wall"]
    for command, cost in medians.items():
        pytest = medians["pytest, no bytecode written" if "no bytecode" in command else "pytest"]["wall"]
        figures = f"{cost['wall']:.2f} | {cost['cpu']:.2f} | {cost['memory']:.0f}"
        print(f"| {command} | {figures} | {cost['wall'] / pytest:.2f} | {cost['wall'] / xdist:.2f} |")
    sys.stdout.flush()


#: Of all that was collected one test is left, where it is asked for.
LEAVES_ONE = """import os


def pytest_collection_modifyitems(items):
    if "BENCH_LEAVES_ONE" in os.environ:
        del items[1:]
"""


def per_test(rounds: int) -> None:
    """What a further test costs, and what of it is collecting: all processes, by the slope between two sizes."""
    python = pytest9()
    small, large = 10, 110
    plain = f"{shlex.quote(python)} -m pytest -p no:terminal"
    lines = {"pytest -p no:terminal": plain, "rpt-run -n 1": "rpt-run -n 1 ."}
    # Each beside the same with one test that runs.
    pairs = {name: (line, f"BENCH_LEAVES_ONE=1 {line}") for name, line in lines.items()}
    env = environment(python)
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as name:
        folders = {files: trivial(pathlib.Path(name, str(files)), files, 100) for files in (small, large)}
        for folder in folders.values():
            (folder / "conftest.py").write_text(LEAVES_ONE)
        samples: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds + 1):
            for line in itertools.chain(*pairs.values()):
                for files, folder in folders.items():
                    cpu = measure(line, folder, env)["cpu_s"]
                    # The first turn writes the bytecode.
                    if turn > 0:
                        samples.setdefault((line, files), []).append(cpu)
    tests = (large - small) * 100

    def slope(line: str) -> float:
        costs = [statistics.median(samples[line, files]) for files in (small, large)]
        return (costs[1] - costs[0]) / tests * 1e6

    print("\n### CPU time for each further trivial test, in microseconds\n")
    print("| command | whole | collecting | running |\n|---|---|---|---|")
    for command, (running, collecting) in pairs.items():
        whole, collected = slope(running), slope(collecting)
        print(f"| {command} | {whole:.0f} | {collected:.0f} | {whole - collected:.0f} |")
    sys.stdout.flush()
