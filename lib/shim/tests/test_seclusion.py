"""Tests of who looks at a test module while pytest collects."""

from __future__ import annotations

from pathlib import Path

import pytest

WATCHER = """
import os
from rpt_shim.dependencies import installed_prefixes
from rpt_shim.seclusion import Seclusion

seclusion = Seclusion(installed_prefixes())

def pytest_load_initial_conftests(early_config):
    seclusion.install(early_config)

def pytest_collection_finish(session):
    seclusion.end()
    kinds = {type(item.module).__name__ for item in session.items}
    print("secluded:", *sorted(os.path.basename(name) for name in seclusion.files), *sorted(kinds))
"""

ITSELF = """
import collections, dataclasses, enum, sys, typing

Pair = collections.namedtuple("Pair", "a b")
Color = enum.Enum("Color", "RED")
OWN = sys.modules[__name__].Pair

@dataclasses.dataclass
class Data:
    value: typing.ClassVar[int] = 0

def helper():
    return sys.modules[__name__].__dict__

helper()

def test_a(): pass
"""


def secluded(pytester, monkeypatch, **files):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    pytester.makepyfile(watcher=WATCHER, **files)
    result = pytester.runpytest_subprocess("-p", "watcher", "--collect-only", "-p", "no:cacheprovider")
    return next(line for line in result.outlines if "secluded:" in line).split("secluded:")[1].split()


IMPORTS = [
    "import importlib\nimportlib.import_module('test_' + 'a')",
    "exec('import test_' + 'a')",
    "exec('from test_' + 'a import helper')",
    "import product\nproduct.load('test_' + 'a')",
]
LOOKS = [
    "import sys\nsys.modules['test_' + 'a'].helper",
    "import sys\nvars(sys.modules['test_' + 'a'])",
    "import inspect, sys\ninspect.getmodule(sys._getframe())",
]
PRODUCT = "def load(name):\n    return __import__(name).helper"


@pytest.mark.parametrize("other", [*IMPORTS, *LOOKS])
def test_whoever_looks_at_it_later_is_seen(pytester, monkeypatch, other):
    told = secluded(pytester, monkeypatch, test_a=ITSELF, product=PRODUCT, test_b=f"{other}\ndef test_b(): pass")
    assert told == ["test_b.py", "module"]


@pytest.mark.parametrize("other", IMPORTS)
def test_whoever_imports_it_first_is_seen(pytester, monkeypatch, other):
    told = secluded(pytester, monkeypatch, test_a=ITSELF, product=PRODUCT, conftest=other)
    assert told == ["module"]


def test_what_others_do_otherwise_is_no_look(pytester, monkeypatch):
    product = "import sys\nexec('x = 1')\nsys.modules.get('somebody')\n__import__('json')"
    told = secluded(pytester, monkeypatch, test_a=ITSELF, test_b="import product\ndef test_b(): pass", product=product)
    assert told == ["test_a.py", "test_b.py", "module"]


def test_what_becomes_of_another_kind_is_not_known(pytester, monkeypatch):
    kind = "import sys, types\nclass Other(types.ModuleType): pass\nsys.modules[__name__].__class__ = Other"
    told = secluded(pytester, monkeypatch, test_a=ITSELF, test_b=f"{kind}\ndef test_b(): pass")
    assert told == ["test_a.py", "Other", "module"]


def test_modules_that_pytest_does_not_rewrite_are_not_known(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--assert=plain")
    assert secluded(pytester, monkeypatch, test_a=ITSELF) == ["module"]
