"""A PostgreSQL server of one's own, for as long as it is needed. Standard library only."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile


@contextlib.contextmanager
def server():
    """The URL of a database on a server of its own, reached by a socket, with PostgreSQL's own settings."""
    here = pathlib.Path(__file__).resolve().parent
    tools = subprocess.run([here / "postgres", "--find"], capture_output=True, text=True, check=True).stdout.strip()
    folder = tempfile.mkdtemp(prefix="rpt-pg-", dir="/tmp")
    # PostgreSQL does not run as root.
    own = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    if own:
        os.chown(folder, 65534, 65534)

    def tool(name, *arguments):
        command = [*own, f"{tools}/{name}", *arguments]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

    tool("initdb", "-D", f"{folder}/data", "-U", "rpt", "-A", "trust", "-E", "UTF8", "--locale=C")
    options = f"-k {folder} -c listen_addresses= -c max_connections=300"
    tool("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", "-o", options, "start")
    try:
        yield f"postgres://rpt@/postgres?host={folder}"
    finally:
        tool("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)
