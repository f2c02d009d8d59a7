"""Owns how a command line is measured, and the suites that are made up for it."""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from real_suites import ROOT

BINARIES = ROOT / "target" / "release"


def environment(python: str, **more: str) -> dict[str, str]:
    dropped = ("PYTEST_", "RPT_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "RPT_PYTHON": python, "PATH": f"{BINARIES}:{kept['PATH']}", **more}


def measure(
    line: str, folder: pathlib.Path, env: dict[str, str], memory: bool = False, limit_s: float | None = None
) -> dict[str, Any]:
    """What `scripts/measure.py` says of it. The script ends where it fails; `exit_code` is None where it did not
    end within the limit."""
    flags = [*(["--memory"] if memory else []), *([] if limit_s is None else ["--limit", str(limit_s)])]
    command = [sys.executable, str(ROOT / "scripts" / "measure.py"), *flags, f"set -o pipefail; {line}"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0 or (cost := json.loads(done.stdout))["exit_code"] not in (0, 1, None):
        sys.exit(f"scripts/bench: {line}: failed\n{done.stdout}{done.stderr}")
    return cost


def trivial(folder: pathlib.Path, files: int, tests: int) -> pathlib.Path:
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    body = "".join(f"def test_{number}():\n    assert {number} + 1 == {number + 1}\n\n\n" for number in range(tests))
    for number in range(files):
        (folder / f"test_{number:03}.py").write_text(body)
    return folder


def pytest9() -> str:
    return subprocess.check_output([ROOT / "scripts" / "venv", "pytest9"], text=True).strip()


def median_ms(line: str, folder: pathlib.Path, env: dict[str, str], rounds: int, before: Any = None) -> float:
    walls = []
    for turn in range(rounds):
        if before is not None:
            before(turn)
        walls.append(measure(line, folder, env)["wall_s"])
    return statistics.median(walls) * 1000
