"""Owns machines that are not there: hosts in network namespaces on one bridge, and a PostgreSQL
server that they reach over it. Everything lives in namespaces of the process that asks for it, and
goes with that process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

NETWORK = "10.77.0"
PORT = 5432
#: PostgreSQL does not run as root.
NOBODY = 65534


def isolate():
    """Runs this program once more in network, mount and process namespaces of its own."""
    if os.environ.get("RPT_ISOLATED") == "1":
        return
    ways = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*ways, "ip", "link"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        reason = (tried.stderr or "unshare failed").strip().splitlines()[-1]
        sys.exit(f"{Path(sys.argv[0]).name}: namespaces are needed, and this machine allows none: {reason}")
    os.environ["RPT_ISOLATED"] = "1"
    os.execvp(ways[0], [*ways, sys.executable, *sys.argv])


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Bridge:
    """The network. Its own address is the server's."""

    def __init__(self):
        Path("/run/netns").mkdir(exist_ok=True)
        # Names of namespaces are files, which others should not see.
        run("mount", "-t", "tmpfs", "netns", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        # Without an address of its own it takes that of a port, another one with each host that comes,
        # and all that know the old one hear nothing for as long as they remember it.
        run("ip", "link", "add", "bridge", "address", "02:00:00:00:00:01", "type", "bridge")
        run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        self.hosts = 0

    def host(self):
        self.hosts += 1
        return Host(self.hosts % 250 + 2)


class Host:
    """A machine on the bridge."""

    def __init__(self, number):
        self.name, self.port = f"host{number}", f"port{number}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self.port, "master", "bridge", "up")
        self.inside("ip", "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "link", "set", "lo", "up")

    def words(self):
        """Words before a command that make it this host's."""
        return ["ip", "netns", "exec", self.name]

    def inside(self, *command):
        return run(*self.words(), *command)

    def drop(self, *ways, share=1.0):
        """Drops so much of what comes (INPUT) or goes (OUTPUT)."""
        chance = [] if share == 1 else ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        for way in ways:
            self.inside("iptables", "-A", way, "-i" if way == "INPUT" else "-o", "eth0", *chance, "-j", "DROP")

    def unplug(self, is_out):
        run("ip", "link", "set", self.port, "down" if is_out else "up")

    def heal(self):
        self.inside("iptables", "-F")
        self.unplug(False)

    def remove(self):
        run("ip", "netns", "del", self.name)


class SlowWire:
    """A way to the server on which everything takes longer."""

    def __init__(self, delay):
        self.delay = delay
        self.listener = socket.create_server((f"{NETWORK}.1", 0))
        self.number = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection((f"{NETWORK}.1", PORT))
                except OSError:
                    near.close()
                    continue
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self.pass_on, args=ends, daemon=True).start()

    def pass_on(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


class Server:
    """PostgreSQL, in a folder of an unprivileged user's."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, Path(programs)
        self.folder.mkdir()
        os.chown(self.folder, NOBODY, NOBODY)
        run(*self.own(), str(self.programs / "initdb"), "-D", str(folder / "data"), "-U", "rpt", "-A", "trust",
            "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        with (folder / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all samenet trust\n")
        self.start()

    @staticmethod
    def own():
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []

    def start(self):
        options = f"-k {self.folder} -p {PORT} -c listen_addresses={NETWORK}.1 -c max_connections=200 -F"
        # Into a file: the server keeps what it inherits.
        with (self.folder / "said").open("ab") as said:
            command = [str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-l", str(self.folder / "log")]
            command = [*self.own(), *command, "-w", "-o", options, "start"]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=True, cwd="/")

    def kill(self):
        """kill -9 of the postmaster, then of whatever it had begun."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        pids = [postmaster]
        while pids:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                # They are the first process's of this namespace by now, and a server that starts takes
                # what nobody has waited for as one that runs.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            pids = self.processes()

    def processes(self):
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes()
                    if line.startswith((b"postgres: ", bytes(self.programs / "postgres"))):
                        found.append(int(entry.name))
        return found

    def url(self, port=PORT):
        return f"postgres://rpt@{NETWORK}.1:{port}/postgres?sslmode=disable"

    def rows(self, sql):
        """Rows of fields, as text."""
        command = [str(self.programs / "psql"), "-XAtq", "-F", "\t", self.url(), "-c", sql]
        return [line.split("\t") for line in run(*command).splitlines()]
