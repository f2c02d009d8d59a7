"""Owns the interpreter's state before pytest is imported: made what the `pytest`
command would have. Must not import pytest at its top."""

from __future__ import annotations

import os
import sys
from typing import Callable

#: pytest's oldest version whose internals the shim is tested with.
OLDEST_PYTEST = (7, 4)


def prepare(args: list[str], fail: Callable[[str], None]) -> None:
    """`fail` tells rpt why this interpreter cannot be used, and ends the process."""
    look_like_pytest(args)
    try:
        import pytest
    except ImportError as error:
        fail(f"{sys.executable} has no pytest ({error}); install it there, or name another with --python")
        return
    version = tuple(int(part) for part in pytest.__version__.split(".")[:2] if part.isdigit())
    if version < OLDEST_PYTEST:
        fail(f"pytest {pytest.__version__} of {sys.executable} is too old: rpt needs 7.4 or later")


def look_like_pytest(args: list[str]) -> None:
    """sys.argv as the `pytest` command has it."""
    command = os.path.join(os.path.dirname(sys.executable), "pytest")
    sys.argv = [command, *args]
    if os.path.exists(command):
        sys.modules["__main__"].__file__ = command
