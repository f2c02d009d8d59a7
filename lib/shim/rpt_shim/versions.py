"""Owns for which versions of pytest its own functions may be stood for."""

from __future__ import annotations

import pytest

#: Versions of pytest whose every function that is stood for was read and compared.
TESTED = ((9, 2),)


def is_tested() -> bool:
    return tuple(int(part) for part in pytest.__version__.split(".")[:2] if part.isdigit()) in TESTED
