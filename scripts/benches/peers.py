"""Owns the table of runs beside other runners, each with what it got wrong.

A runner is wrong where its totals are not pytest's: what passed, failed, was skipped,
expected to fail or broken. A wrong answer keeps its time and is marked; a runner that
ends with an error of its own has no time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from typing import Callable

from benches.common import environment, measure, pytest9, trivial
from benches.suites import FILES, TESTS_PER_FILE, xdist_folder
from real_suites import FOLDER, ROOT, SUITES, fetch

Totals = dict[str, int]

#: Who takes so many times as long as pytest, and longer than a minute, is not waited for.
HOPELESS, LEAST_LIMIT_S = 5, 60.0

#: Who takes so many times as long as pytest is measured by the first run alone.
SLOW = 2.5

#: What the totals are made of, as pytest words them.
WORDS = ("passed", "failed", "skipped", "xfailed", "xpassed", "error")
TOTAL = re.compile(r"(\d+) (passed|failed|skipped|xfailed|xpassed|error)s?\b")

#: Needed by rustest beside itself.
RUSTEST = ("rustest", "rich", "markdown-it-py", "mdurl", "typing-extensions", "pygments")


def of_last_line(said: str) -> Totals:
    """As pytest and most others end: `3 failed, 5 passed in 0.1s`."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines() if TOTAL.search(line)]
    return {word: int(count) for count, word in TOTAL.findall(lines[-1])} if lines else {}


def of_list(said: str) -> Totals:
    """As oxytest ends: `  failed: 2`, a line each."""
    return {word: int(count) for word, count in re.findall(r"^  (\w+): (\d+)$", said, re.MULTILINE) if word in WORDS}


def of_summary(said: str) -> Totals:
    """cito's --json."""
    last = json.loads(said.strip().splitlines()[-1])
    return {word: last[word] for word in WORDS if word in last}


def of_outcomes(said: str) -> Totals:
    """pytest-fast's --dump: an outcome for each id."""
    outcomes = list(json.loads(said).values())
    return {word: outcomes.count(word) for word in WORDS}


def of_records(said: str) -> Totals:
    """The last record of rpt-run."""
    last = json.loads(said.strip().splitlines()[-1])
    named = {**last, "error": last["errors"]}
    return {word: named.get(word, 0) for word in WORDS}


@dataclasses.dataclass(frozen=True)
class Runner:
    """A way to run a suite: `line` is for a shell, with {python} and {paths}."""

    name: str
    line: str
    read: Callable[[str], Totals] = of_last_line
    #: What is installed for it, and where it looks for paths in the suite.
    packages: tuple[str, ...] = ()
    takes_paths: bool = True


RUNNERS = (
    Runner("pytest", "{python} -m pytest -q {paths}"),
    Runner("pytest-xdist -n 2", "{python} -m pytest -q -n 2 {paths}"),
    Runner("rpt-collect | rpt-order | rpt-run -n 2", "rpt-collect {paths} | rpt-order | rpt-run -n 2", of_records),
    Runner("rpt-run -n 1", "rpt-run -n 1 {paths}", of_records),
    Runner("pytest-zygote --workers 2", "{python} -m pytest -q --workers 2 {paths}", of_last_line, ("pytest-zygote",)),
    Runner(
        "pytest-fast --workers 2",
        "{python} {bin}/pytest-fast --workers 2 --dump {dump} >/dev/null; cat {dump}",
        of_outcomes,
        ("pytest-fast",),
        takes_paths=False,
    ),
    Runner("oxytest -n 2", "{python} {bin}/oxytest -n 2 {paths}", of_list, ("oxytest",)),
    # Its own runner: its other one is pytest in several processes.
    Runner("rtest --runner native -n 2", "{python} {bin}/rtest --runner native -n 2 {paths}", of_last_line, ("rtest",)),
    Runner("karva test -n 2", "PATH={bin}:$PATH karva test -n 2 {paths}", of_last_line, ("karva",)),
    Runner("rustest -n 2", "{python} {bin}/rustest --pytest-compat -n 2 {paths} 2>&1", of_last_line, RUSTEST),
    Runner("cito run -n 2", "{bin}/cito run --json -n 2 --python {python} {paths}", of_summary, ("cito",)),
)


def folder_of(packages: tuple[str, ...], python: str) -> pathlib.Path:
    """The packages in a folder of their own, for PYTHONPATH."""
    folder = FOLDER / "peers" / packages[0]
    if not folder.exists():
        pinned = dict(line.split("==") for line in requirements().splitlines() if "==" in line)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
        wanted = [f"{package}=={pinned[package]}" for package in packages]
        quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
        subprocess.run([*pip, "--target", str(folder), *wanted], check=True, env=quiet)
    return folder


def requirements() -> str:
    return (ROOT / "scripts" / "requirements" / "peers.txt").read_text(encoding="utf-8")


@dataclasses.dataclass
class Lane:
    """One runner on one suite."""

    name: str
    line: str
    env: dict[str, str]
    totals: Totals
    error: str | None
    #: What the first run cost, which warms caches and is not counted.
    first: dict[str, float]
    samples: list[dict[str, float]] = dataclasses.field(default_factory=list)
    memory_mb: float | None = None

    def median(self, figure: str) -> float:
        return statistics.median(sample[figure] for sample in self.samples)


def lane(
    runner: Runner, folder: pathlib.Path, python: str, paths: str, place: pathlib.Path, limit_s: float | None
) -> Lane:
    """Runs it once: the totals, and caches that are warm for the rounds."""
    more = {}
    installed = pathlib.Path()
    if runner.packages:
        installed = folder_of(runner.packages, pytest9())
        more["PYTHONPATH"] = str(installed)
    elif "xdist" in runner.name:
        more["PYTHONPATH"] = xdist_folder()
    env = environment(python, **more)
    dump, out, err = place / "dump.json", place / "out", place / "err"
    line = runner.line.format(
        python=shlex.quote(python), bin=installed / "bin", dump=dump, paths=paths if runner.takes_paths else ""
    )
    first = measure(f"({line}) >{out} 2>{err} || true", folder, env, limit_s=limit_s)
    if first["exit_code"] is None:
        return Lane(runner.name, line, env, {}, f"not done after {limit_s:.0f} s", first)
    said, complained = (file.read_text(encoding="utf-8", errors="replace") for file in (out, err))
    try:
        totals = runner.read(said)
    except (ValueError, IndexError, KeyError):
        totals = {}
    error = None
    if not any(totals.values()):
        last = [line for line in (complained + said).splitlines() if line.strip()]
        error = last[-1].strip()[:80] if last else "it said nothing"
    return Lane(runner.name, line, env, totals, error, first)


def differences(totals: Totals, pytests: Totals) -> str:
    """What is not as pytest has it."""
    told = []
    for word in WORDS:
        here, there = totals.get(word, 0), pytests.get(word, 0)
        if here != there:
            told.append(f"{here} {word}, not {there}")
    return "; ".join(told)


def beside(title: str, folder: pathlib.Path, python: str, paths: str, rounds: int) -> list[tuple[str, float, bool]]:
    """Prints the table of one suite. Each runner's name, its wall time as a ratio of
    pytest's, and whether its totals are pytest's."""
    lanes: list[Lane] = []
    limit_s: float | None = None
    with tempfile.TemporaryDirectory(prefix="rpt-bench-") as place:
        for runner in RUNNERS:
            progress(f"{title}: {runner.name}")
            lanes.append(lane(runner, folder, python, paths, pathlib.Path(place), limit_s))
            limit_s = max(LEAST_LIMIT_S, HOPELESS * lanes[0].first["wall_s"])
        pytests = lanes[0]
        ended = [lane for lane in lanes if lane.error is None]
        timed = [one for one in ended if one.first["wall_s"] <= SLOW * pytests.first["wall_s"]]
        for one in ended:
            if one not in timed:
                one.samples.append(one.first)
        for turn in range(rounds):
            progress(f"{title}: round {turn + 1} of {rounds}")
            first = turn % len(timed)
            for one in timed[first:] + timed[:first]:
                cost = measure(f"({one.line}) || true", folder, one.env, limit_s=limit_s)
                one.samples.append(cost)
                if cost["exit_code"] is None:
                    one.error = f"not done after {limit_s:.0f} s, though it was once"
        for one in timed:
            one.memory_mb = measure(f"({one.line}) || true", folder, one.env, memory=True, limit_s=limit_s)["pss_mb"]
    progress("")
    print(f"\n### {title}\n\n| runner | wall s | of pytest | CPU s | MB | totals |\n|---|---|---|---|---|---|")
    measured = []
    for one in lanes:
        name = one.name.replace("|", "\\|")
        if one.error is not None:
            print(f"| {name} | | | | | none: {one.error.replace('|', ' ')} |")
            continue
        wall, ratio = one.median("wall_s"), one.median("wall_s") / pytests.median("wall_s")
        wrong = differences(one.totals, pytests.totals)
        note = " (first)" if one not in timed else ""
        memory = "" if one.memory_mb is None else f"{one.memory_mb:.0f}"
        figures = f"{wall:.2f}{note} | {ratio:.2f} | {one.median('cpu_s'):.2f} | {memory}"
        print(f"| {name} | {figures} | {f'**wrong**: {wrong}' if wrong else 'as pytest'} |")
        measured.append((one.name, ratio, not wrong))
    sys.stdout.flush()
    return measured


def progress(text: str) -> None:
    """What is done now, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:78]}", end="", file=sys.stderr, flush=True)


def peers(rounds: int, chosen: list[str], svg: str | None) -> None:
    """Every suite, or those chosen; the chart where it is asked for."""
    charted = {}
    for name in chosen or ["trivial", "imports", "one test", *SUITES]:
        if name in SUITES:
            suite = fetch(SUITES[name])
            title = f"{name} {suite.version}"
            charted[title] = beside(title, suite.folder, str(suite.python), " ".join(suite.arguments), rounds)
            continue
        with tempfile.TemporaryDirectory(prefix="rpt-bench-") as place:
            folder = trivial(pathlib.Path(place, "suite"), FILES, TESTS_PER_FILE)
            title, paths = f"{FILES * TESTS_PER_FILE:,} trivial tests", "."
            if name == "imports":
                title = f"{title} behind 1 s of imports"
                (folder / "conftest.py").write_text("import time\n\ntime.sleep(1)\n")
            elif name == "one test":
                title, paths = f"one of {title}", "test_050.py::test_50"
            charted[title] = beside(title, folder, pytest9(), paths, rounds)
    if svg is not None:
        pathlib.Path(svg).write_text(chart(charted), encoding="utf-8")


def chart(charted: dict[str, list[tuple[str, float, bool]]]) -> str:
    """Bars of wall time as ratios of pytest's, readable on light and dark grounds. What
    was wrong is drawn as an outline."""
    row, left, width = 18, 270, 380
    most = 1.5
    parts, y = [], 10
    for title, bars in charted.items():
        y += 12
        parts.append(f'<text x="0" y="{y + 10}" font-weight="bold">{_escaped(title)}</text>')
        y += row
        for name, ratio, right in bars:
            length = max(1.0, min(ratio, most) / most * width)
            ours = name.startswith("rpt")
            colour = "#2f81f7" if ours else "#8b949e"
            paint = f'fill="{colour}"' if right else f'fill="none" stroke="{colour}" stroke-dasharray="3 2"'
            said = f"{ratio:.2f}" + ("" if right else " wrong")
            parts.append(
                f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{_escaped(name)}</text>'
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="12" {paint}/>'
                f'<text x="{left + length + 6:.1f}" y="{y + 12}">{said}</text>'
            )
            y += row
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y + 10}" font-family="sans-serif" font-size="12"'
    return (
        f'{head} fill="#8b949e" role="img">\n<title>Wall time as a ratio of pytest</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
