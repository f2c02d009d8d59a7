"""Owns random test modules: fixtures of every scope, finalizers that fail, output, log
records, warnings, skips and exceptions in every phase. The same number gives the same
module."""

from __future__ import annotations

import random

SCOPES = ("function", "class", "module", "session")

#: What may happen anywhere. `{n}` is a number that is nowhere else.
ANYWHERE = (
    "print('printed {n}')",
    "print('to stderr {n}', file=sys.stderr)",
    "os.write(1, b'written {n}\\n')",
    "logging.getLogger('a.b').warning('logged {n}')",
    "logging.getLogger('alone').error('logged alone {n}')",
    "logging.info('below the level {n}')",
    "warnings.warn('warned {n}')",
    "warnings.warn('old {n}', DeprecationWarning)",
    "warned_always_here()",
    "in_a_thread('thread {n}')",
    "Unraisable()",
    "seen.append({n})",
    "os.environ['SEEN'] = os.environ['PYTEST_CURRENT_TEST']",
    "print(os.environ['PYTEST_CURRENT_TEST'])",
    "print(sorted(seen))",
    "sys.stdout = io.StringIO()",
    "warnings.simplefilter('ignore')",
    "logging.getLogger('quiet{n}').propagate = False",
    "logging.getLogger().handlers.clear()",
    "print(len(logging.getLogger().handlers), len(warnings.filters))",
)

#: What ends a phase.
ENDINGS = (
    "assert {n} == 0, 'message {n}'",
    "assert [1, {n}] == [1, 2]",
    "raise ValueError('raised {n}')",
    "pytest.skip('skipped {n}')",
    "pytest.xfail('xfailed {n}')",
    "pytest.fail('failed {n}')",
    "raise unittest.SkipTest('unittest skipped {n}')",
    "raise SystemExit({n})",
    "nested({n})",
)

#: What needs the request of the item that runs.
OF_REQUEST = (
    "request.node.add_marker(pytest.mark.xfail(reason='added {n}'))",
    "request.node.add_marker(pytest.mark.xfail(strict=True))",
    "request.node.add_marker(pytest.mark.skip)",
    "request.addfinalizer(lambda: print('finalized {n}'))",
    "request.addfinalizer(lambda: 1 / 0)",
    "request.getfixturevalue('capsys'); print('with capsys {n}')",
    "print(request.node.nodeid, request.fixturenames)",
)

BUILT_IN = ("capsys", "capfd", "caplog", "recwarn", "monkeypatch", "tmp_path", "request", "record_property")

#: What a test does with a fixture of pytest's own.
WITH = {
    "capsys": "print('x{n}'); print(repr(capsys.readouterr()))",
    "capfd": "os.write(1, b'x{n}'); print(repr(capfd.readouterr()))",
    "caplog": "caplog.set_level(10); logging.debug('d{n}'); print(caplog.record_tuples, caplog.get_records('setup'))",
    "recwarn": "warnings.warn('w{n}'); print(len(recwarn))",
    "monkeypatch": "monkeypatch.setattr(sys, 'stdout', io.StringIO()); print('lost {n}')",
    "tmp_path": "(tmp_path / 'f').write_text('{n}'); print(tmp_path.name)",
    "request": "pass",
    "record_property": "record_property('p', {n})",
}

HEAD = """
import io, logging, os, sys, threading, unittest, warnings
import pytest

seen = []
logging.getLogger('alone').propagate = False

class Unraisable:
    def __del__(self):
        raise RuntimeError('in a finalizer')

def warned_always_here():
    warnings.warn('the same place')

def in_a_thread(name):
    thread = threading.Thread(target=lambda: 1 / 0, name=name)
    thread.start()
    thread.join()

def nested(n):
    try:
        raise KeyError(n)
    except KeyError as error:
        raise ValueError('chained') from error
"""


class Module:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0
        self.lines = [HEAD]

    def text(self, tests: int) -> str:
        """A module of so many tests, some of them parametrized."""
        fixtures = [self.fixture(number) for number in range(self.random.randrange(4))]
        for number in range(tests):
            in_class = self.random.random() < 0.3
            if in_class:
                self.lines.append(f"class Test{number}:")
            self.test(number, fixtures, "    " if in_class else "")
        return "\n".join(self.lines) + "\n"

    def fixture(self, number: int) -> str:
        scope = self.random.choice(SCOPES)
        autouse = self.random.random() < 0.2
        params = "params=[1, 2], " if self.random.random() < 0.15 else ""
        self.lines.append(f"@pytest.fixture(scope={scope!r}, {params}autouse={autouse})")
        self.lines.append(f"def fixture{number}(request):")
        self.body("    ", 0.12, [])
        self.lines.append(f"    yield {number}")
        self.body("    ", 0.12, [])
        return f"fixture{number}"

    def test(self, number: int, fixtures: list[str], indent: str) -> None:
        used = [name for name in fixtures if self.random.random() < 0.4]
        built_in = [name for name in BUILT_IN if self.random.random() < 0.12]
        for mark in ("skip", "xfail", "filterwarnings('error')", "skipif(True, reason='so')", "slow"):
            if self.random.random() < 0.05:
                self.lines.append(f"{indent}@pytest.mark.{mark}")
        if self.random.random() < 0.1:
            self.lines.append(f"{indent}@pytest.mark.parametrize('value', [1, 'a b', None])")
            used.append("value")
        names = [*(["self"] if indent else []), *used, *built_in]
        self.lines.append(f"{indent}def test_{number}({', '.join(names)}):")
        self.body(indent + "    ", 0.25, built_in)

    def body(self, indent: str, ends: float, built_in: list[str]) -> None:
        statements = [self.random.choice(ANYWHERE) for _ in range(self.random.choice((0, 0, 1, 1, 2, 3)))]
        statements += [WITH[name] for name in built_in]
        if "request" in built_in or (not built_in and ends < 0.2):
            statements += [self.random.choice(OF_REQUEST)] if self.random.random() < 0.3 else []
        if self.random.random() < ends:
            statements.append(self.random.choice(ENDINGS))
        for statement in statements or ["pass"]:
            self.count += 1
            self.lines.append(indent + statement.replace("{n}", str(self.count)))
