"""Makes cgroups with a limit of memory, of either version, to run commands in. Takes root."""

import os
from pathlib import Path


class Cgroup:
    def __init__(self, folder, version):
        self.folder, self.version = folder, version

    def within(self, command):
        """The command, as one that moves into the cgroup first."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def kills(self):
        """How many of its processes the kernel killed for want of memory."""
        events = self.folder / ("memory.events" if self.version == 2 else "memory.oom_control")
        return next(int(line.split()[1]) for line in events.read_text().splitlines() if line.startswith("oom_kill "))

    def remove(self):
        """What still runs in it is ended."""
        while pids := (self.folder / "cgroup.procs").read_text().split():
            for pid in pids:
                try:
                    os.kill(int(pid), 9)
                except ProcessLookupError:
                    pass
        self.folder.rmdir()


def _mounts():
    """Places of hierarchies that can limit memory, and their versions."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place, (kind, _, options) = Path(before.split(" ")[4]), after.split(" ")[:3]
        if kind == "cgroup" and "memory" in options.split(","):
            yield place, 1
        elif kind == "cgroup2" and "memory" in (place / "cgroup.controllers").read_text().split():
            yield place, 2


def make(name, memory):
    """A new cgroup whose processes have so many bytes of memory together, and no swap. Raises OSError."""
    for place, version in _mounts():
        folder = place / name
        if version == 2:
            (place / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
        limits = {1: ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"], 2: ["memory.max", "memory.swap.max"]}
        for limit, value in zip(limits[version], (memory, memory if version == 1 else 0), strict=True):
            if (folder / limit).exists():
                (folder / limit).write_text(str(value))
        return Cgroup(folder, version)
    raise OSError("no hierarchy of cgroups here limits memory")


def why_not():
    """Why no cgroup can be made here; None where it can."""
    try:
        make(f"rpt-probe-{os.getpid()}", 1 << 30).remove()
    except OSError as error:
        return str(error)
    return None
