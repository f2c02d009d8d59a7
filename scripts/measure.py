"""Runs one command line and prints what it cost, as one JSON object.

    python3 scripts/measure.py [--memory] [--limit SECONDS] COMMAND_LINE

wall_s: until the command line ends. cpu_s: user and system time of every process it
started, those that were orphaned included: this process is a child subreaper, so a
server that outlives a pipeline's first stage is still counted when it ends. rss_mb: the
most resident memory of any one of these processes, and not less than this small one has
(a process inherits that figure of the one that starts it). exit_code: of the command
line. With --memory also pss_mb: the highest sum, over all its processes, of the memory
each one can be charged for (shared pages divided among their users), looked at every
20 ms; the looking costs time, so that run's times are not to be used.
What still runs ten seconds after the command line has ended, or at the limit, is killed;
exit_code is null where the command line was. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
LOOK_EVERY = 0.02

#: How long what the command line left behind may go on, in seconds.
PATIENCE_S = 10


def descendants(root: int) -> list[int]:
    """Every process below `root`, by the parents that /proc names."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def proportional_kb(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


class MemoryWatch(threading.Thread):
    """Remembers the highest sum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest_kb = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(LOOK_EVERY):
            self.highest_kb = max(self.highest_kb, sum(map(proportional_kb, descendants(os.getpid()))))


def kill_all() -> None:
    """Every process below this one, and what they start meanwhile, as far as that can be done in a second."""
    for _ in range(50):
        found = descendants(os.getpid())
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_EVERY)


def ends_all_after(seconds: float | None) -> threading.Timer:
    """None: never."""
    timer = threading.Timer(threading.TIMEOUT_MAX if seconds is None else seconds, kill_all)
    timer.daemon = True
    timer.start()
    return timer


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--limit", type=float)
    parser.add_argument("line")
    options = parser.parse_args()
    watch = MemoryWatch() if options.memory else None
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("scripts/measure.py: this system has no child subreaper")
    if watch:
        watch.start()
    began = time.perf_counter()
    # bash, for pipefail: the exit code of a pipeline is that of the stage that failed.
    process = subprocess.Popen(["bash", "-c", options.line], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    limit = ends_all_after(options.limit)
    code: int | None = process.wait()
    wall = time.perf_counter() - began
    limit.cancel()
    if options.limit is not None and wall >= options.limit:
        code = None
    patience = ends_all_after(PATIENCE_S)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    patience.cancel()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_mb": usage.ru_maxrss / 1024,
        "exit_code": code,
    }
    if watch:
        watch.over.set()
        watch.join()
        cost["pss_mb"] = watch.highest_kb / 1024
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
