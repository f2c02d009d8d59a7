"""Owns what the shim's loop says of a folder's tests, run in a process of its own:
no run sees what an earlier one left behind.

As a program: `python said.py FOLDER PROTOCOL [PYTEST_ARGS]` prints it.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import subprocess
import sys

import pytest

# As a program nobody has read conftest.py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class AsBooted(importlib.machinery.PathFinder):
    """Finds the shim's modules and names their code as it is named where rpt boots them:
    pytest leaves code of such a name out of tracebacks."""

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname):
            return compile(self.get_data(self.path), f"<rpt>/{os.path.basename(self.path)}", "exec")

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        spec = super().find_spec(fullname, path, target) if fullname.startswith("rpt_shim.") else None
        if spec is not None:
            spec.loader = cls.Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, AsBooted)

from test_worker import InProcess  # noqa: E402

#: What drives the test is in tracebacks and stacks that are printed whole: pluggy in the
#: one protocol and the shim in the other.
FRAME = re.compile(r'\n[ |]*  File "[^"]*(?:/_pytest/|/pluggy/|<rpt>/)[^"]*", line \d+, in \S+(?:\n[ |]* {4}\S.*)*')

#: The same where pytest shows its own code because no other code raised.
ENTRIES = re.compile(r"\A(?:(?!\n(?:_ )+\n).)*?(?:/_pytest/runner\.py|<rpt>/light\.py):\d+: .*\n(?:_ )+\n", re.DOTALL)


def said(folder, protocol, *args):
    """What is said, without times and addresses, and how many items took which protocol."""
    command = [sys.executable, __file__, str(folder), protocol, *args]
    return comparable(subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout)


def comparable(printed):
    """The same of what this program printed."""
    lines, took = json.loads(printed)
    # What fixtures cost is said where it was notable, which no two runs agree on.
    return [_without_numbers(line) for line in lines if line[0] != "set_up"], dict(took)


def say(protocol, args, fd):
    """Runs the tests of the current folder in this process and writes what is said to `fd`."""
    loop = InProcess(protocol=protocol)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    pytest.main(["-p", "no:cacheprovider", "--rootdir=.", "--basetemp=tmp", *args], plugins=[loop])
    with os.fdopen(fd, "w") as file:
        json.dump([loop.lines, list(loop.took.items())], file)


def _without_numbers(message):
    if isinstance(message, dict):
        return {name: _without_numbers(value) for name, value in message.items() if name != "duration"}
    if isinstance(message, list):
        return [_without_numbers(value) for value in message if not isinstance(value, float)]
    if isinstance(message, str):
        # Some of it is text within text.
        undriven = ENTRIES.sub("", FRAME.sub("", message.replace("\\n", "\n")))
        return re.sub(r"0x[0-9a-f]+|Thread-\d+|(?<=\bin )\d+\.\d+s", "N", undriven)
    return message


if __name__ == "__main__":
    say(sys.argv[2], sys.argv[3:], os.dup(1))
