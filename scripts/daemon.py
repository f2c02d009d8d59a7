"""Owns a daemon of one's own for measuring and soaking: starting it at a private socket,
speaking with it, looking at what it costs. Linux only."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import time
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """Runs until `end`; `env` is that of its clients too, with the folder of its socket."""

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path, env: dict[str, str]) -> None:
        folder.mkdir(mode=0o700)
        self.program = str(programs / "rpt-serve")
        self.env = {**env, "XDG_RUNTIME_DIR": str(folder)}
        self.socket = folder / "rpt" / "serve.sock"
        subprocess.run([self.program, "--detach"], env=self.env, check=True, capture_output=True)
        self.pid: int = self.status()["pid"]

    def status(self) -> dict[str, Any]:
        with Client(self.socket) as client:
            return client.ask({"type": "status"})

    def warmed(self, seconds: float = 60) -> dict[str, Any]:
        """The status once nothing is collected any more."""
        until = time.monotonic() + seconds
        while True:
            status = self.status()
            if all(context["state"] == "warm" for context in status["contexts"]):
                return status
            if time.monotonic() > until:
                raise TimeoutError(f"not warm after {seconds} s: {status}")
            time.sleep(0.02)

    def end(self) -> None:
        subprocess.run([self.program, "--stop"], env=self.env, check=False, capture_output=True)


class Client:
    """One connection; speaks JSON."""

    def __init__(self, path: pathlib.Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(120)
        self.connection.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.connection.sendall(struct.pack("<I", len(body)) + body)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.send(message)
        (length,) = struct.unpack("<I", self._exactly(4))
        return json.loads(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.connection.recv(count - len(parts))
            if not part:
                raise ConnectionError("the daemon closed the connection")
            parts += part
        return parts


def tree(root: int) -> dict[int, str]:
    """A process and all below it, each with its state."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                parents[int(entry.name)] = (int(parent), state)
    found = {root: parents[root][1]} if root in parents else {}
    while more := {pid: state for pid, (parent, state) in parents.items() if parent in found and pid not in found}:
        found.update(more)
    return found


def resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pids: dict[int, str]) -> float:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS
