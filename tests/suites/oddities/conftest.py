"""A custom collector and fixtures of every scope for the suite of oddities."""

import pytest


class CaseFile(pytest.File):
    """A `.case` file: blocks apart by `---`, each `name = verdict`; a name may hold anything."""

    def collect(self):
        for block in self.path.read_text(encoding="utf-8").split("---\n"):
            name, _, verdict = block.rstrip("\n").rpartition(" = ")
            yield CaseItem.from_parent(self, name=name, verdict=verdict)


class CaseItem(pytest.Item):
    def __init__(self, *, verdict, **kwargs):
        super().__init__(**kwargs)
        self.verdict = verdict

    def runtest(self):
        if self.verdict == "skip":
            pytest.skip("the case says so")
        assert self.verdict == "pass"

    def repr_failure(self, excinfo, style=None):
        return f"case {self.name!r} failed"

    def reportinfo(self):
        return self.path, None, f"case {self.name}"


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".case":
        return CaseFile.from_parent(parent, path=file_path)
    return None


SETUPS = []


@pytest.fixture(scope="session")
def session_once():
    SETUPS.append("session")
    yield "session"


@pytest.fixture(scope="module")
def module_once(request, session_once):
    SETUPS.append(request.module.__name__)
    yield request.module.__name__


@pytest.fixture(scope="class")
def class_once(request, module_once):
    SETUPS.append(request.node.name)
    yield request.node.name


@pytest.fixture
def setups():
    return SETUPS


@pytest.fixture
def broken_setup():
    raise RuntimeError("set-up is broken")


@pytest.fixture
def broken_teardown():
    yield 1
    raise RuntimeError("tear-down is broken")


@pytest.fixture
def another_broken_teardown():
    yield 2
    raise ValueError("and so is this one")


@pytest.fixture
def skipping_setup():
    pytest.skip("from a fixture")


@pytest.fixture
def xfailing_setup():
    pytest.xfail("from a fixture")


@pytest.fixture
def skipping_teardown():
    yield
    pytest.skip("too late")
