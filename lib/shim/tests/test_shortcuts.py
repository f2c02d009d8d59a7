"""Every shortcut gives the answer of pytest's own code."""

from __future__ import annotations

import functools
import unittest.mock

import pytest
from _pytest import compat, fixtures, python
from modules import Module

from rpt_shim import shortcuts, versions

with_a_tested_pytest = pytest.mark.skipif(not versions.is_tested(), reason="pytest's own code is asked everywhere")

SOURCE = """
import functools
import unittest.mock
import pytest

@pytest.fixture(scope="module", params=[1, 2])
def number(request): return request.param

@pytest.fixture
def text(number): return str(number)

@pytest.fixture(autouse=True)
def around(tmp_path): yield

def wrapped(function):
    @functools.wraps(function)
    def inner(*args, **kwargs): return function(*args, **kwargs)
    return inner

def placed(function):
    function.place_as = wrapped
    return function

def test_plain(): pass
def test_fixtures(text, number): pass
def test_default(text, other=1, *, monkeypatch, key=2): pass
@pytest.mark.parametrize("text", ["a", "b"])
def test_overridden(text): pass
@pytest.mark.parametrize("text", ["a"], indirect=True)
def test_indirect(text, capsys): pass
@pytest.mark.usefixtures("text")
def test_used(): pass
@wrapped
def test_wrapped(text): pass
@placed
def test_placed(text): pass
@unittest.mock.patch("os.getcwd")
def test_patched(getcwd, text): pass
@pytest.mark.slow
def test_marked(text): pass
@pytest.mark.slow
@pytest.mark.usefixtures()
def test_used_by_nobody(text): pass
@pytest.mark.parametrize("number", [3, 4], indirect=True)
def test_shared(number): pass
@pytest.mark.parametrize("number", [4, 3], indirect=True)
def test_shared_too(number): pass
def test_again(text): pass
test_partial = functools.partial(test_plain)
test_lambda = lambda text: None

class TestIt:
    @pytest.fixture
    def text(self, text): return text
    def test_method(self, text): pass
    @staticmethod
    def test_static(text): pass
    @classmethod
    def test_class(cls, text): pass
    def test_any(*args, text): pass
    class TestInner:
        @pytest.fixture(autouse=True)
        def inner(self): pass
        def test_method(self, text): pass
        def test_other(self, text): pass

@pytest.mark.parametrize("text", ["a", "b"], scope="class")
class TestEach:
    def test_one(self, text): pass
    def test_two(self, text): pass
    def test_three(self, capsys, text): pass

class TestGenerated:
    def pytest_generate_tests(self, metafunc):
        if "more" in metafunc.fixturenames: metafunc.parametrize("more", [metafunc.function.__name__, ""])
    def test_one(self, more): pass
    def test_two(self, more): pass

@pytest.mark.usefixtures()
class TestWarned:
    def test_one(self): pass
    def test_two(self): pass

class TestHeir(TestGenerated, TestIt):
    def test_method(self, monkeypatch): pass
"""

#: Fixtures that a hook registers while a module is collected, and a hook that gives some functions two items.
GENERATES = """
import pytest

def pytest_generate_tests(metafunc):
    if metafunc.definition.name in ("test_plain", "test_method"):
        metafunc.fixturenames.append("times")
        metafunc.parametrize("times", range(2), scope="module")

@pytest.fixture
def times(request): return request.param
"""

REGISTERS = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector, name, obj):
    made = yield
    if name == "test_plain":
        manager = collector.session._fixturemanager
        manager._register_fixture(name="text", func=lambda tmp_path: "", node=collector)
        manager._register_fixture(name="late", func=lambda: "", node=collector, autouse=True)
    return made
"""

#: A mark that a collector gets while it collects.
MARKS = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector, name, obj):
    made = yield
    if name == "test_plain":
        collector.add_marker(pytest.mark.usefixtures("capsys"))
    return made
"""

#: Somebody answers for single tests.
ANSWERS = """
import pytest
from _pytest import fixtures

original = fixtures.FixtureManager.getfixtureinfo

def getfixtureinfo(self, node, func, cls):
    info = original(self, node, func, cls)
    if node.name == "test_again":
        info.names_closure.append("monkeypatch")
    return info

def pytest_collection(session):
    fixtures.FixtureManager.getfixtureinfo = getfixtureinfo

def pytest_collection_finish(session):
    fixtures.FixtureManager.getfixtureinfo = original
"""

CONFTEST = "import pytest\n@pytest.fixture\ndef text(): return ''\n"

#: A plugin that registers a fixture for one item only.
FOR_ONE_ITEM = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector, name, obj):
    made = yield
    for item in made if isinstance(made, list) else ():
        if name == "test_fixtures":
            manager = item.session._fixturemanager
            manager._register_fixture(name="text", func=lambda: "", node=item)
    return made
"""


def functions():
    def plain(a, b=1): ...
    def keywords(a, *args, b, c=1, **kwargs): ...
    def positional(a, /, b): ...
    def nothing(*args): ...

    @functools.wraps(plain)
    def wrapped(*args): ...

    @unittest.mock.patch("os.getcwd")
    def patched(getcwd, a): ...

    class Holder:
        def method(self, a, *, b): ...
        def any(*args, a): ...
        def optional(self=None, a=None): ...
        @staticmethod
        def static(a, b): ...
        @classmethod
        def of_class(cls, a): ...
        def __call__(self, a, b=1): ...

    signed = lambda a: None  # noqa: E731
    signed.__signature__ = compat.signature(keywords)
    own = [plain, keywords, positional, nothing, wrapped, patched, signed, functools.partial(plain, 1), Holder()]
    bound = [getattr(Holder(), name) for name in ("method", "any", "optional", "static", "of_class")]
    yield from ((function, {}) for function in [*own, *bound] if hasattr(function, "__name__"))
    for name in ("method", "any", "optional", "static", "of_class"):
        yield getattr(Holder, name), {"name": name, "cls": Holder}
        yield getattr(Holder, name), {"name": name, "cls": type("Heir", (Holder,), {})}
    yield Holder.method, {"name": "static", "cls": Holder}
    yield functools.partial(plain, 1), {"name": "partial"}


@with_a_tested_pytest
@pytest.mark.parametrize(("function", "more"), list(functions()))
def test_argument_names(function, more):
    assert shortcuts._argument_names(compat.getfuncargnames)(function, **more) == compat.getfuncargnames(
        function, **more
    )


class Installs:
    def pytest_collection(self, session):
        shortcuts.install(session)


def collected(pytester, monkeypatch, installs):
    """All that pytest knows of its items."""
    pytester.syspathinsert()
    with monkeypatch.context() as context:
        # What is installed stays in this process.
        context.setattr(fixtures, "getfuncargnames", compat.getfuncargnames)
        context.setattr(fixtures, "reorder_items", fixtures.reorder_items)
        context.setattr(python.PyCollector, "_genfunctions", python.PyCollector._genfunctions)
        arguments = ["-p", "no:cacheprovider", "--collect-only", "-p", "for_one_item"]
        items = []
        warned = []

        class Keeps:
            def pytest_warning_recorded(self, warning_message, nodeid):
                warned.append((str(warning_message.message), nodeid))

            def pytest_collection_finish(self, session):
                items.extend(session.items)

        pytester.inline_run(*arguments, plugins=[Keeps(), *([Installs()] if installs else [])])
    places = shortcuts.Places()
    return warned, [
        (
            item.nodeid,
            list(item.keywords),
            [mark.name for mark in item.iter_markers()],
            vars(item.callspec) if hasattr(item, "callspec") else None,
            places.of(item) if installs else tuple(item.location[:2]),
            item._fixtureinfo.argnames,
            item._fixtureinfo.initialnames,
            item._fixtureinfo.names_closure,
            {
                name: [(found.baseid, found.scope, found.argnames) for found in definitions]
                for name, definitions in item._fixtureinfo.name2fixturedefs.items()
            },
        )
        for item in items
        if hasattr(item, "_fixtureinfo")
    ]


@with_a_tested_pytest
@pytest.mark.parametrize("plugin", ["", FOR_ONE_ITEM, GENERATES, REGISTERS, MARKS, ANSWERS])
def test_items(pytester, monkeypatch, plugin):
    pytester.makepyfile(test_it=SOURCE, conftest=CONFTEST, for_one_item=plugin, test_other=SOURCE)
    plain = collected(pytester, monkeypatch, installs=False)
    assert plain[0] and len(plain[1]) > 90
    assert collected(pytester, monkeypatch, installs=True) == plain


@with_a_tested_pytest
@pytest.mark.parametrize("seed", range(5))
def test_random_items(pytester, monkeypatch, seed):
    pytester.makepyfile(test_it=Module(seed).text(20), for_one_item="")
    plain = collected(pytester, monkeypatch, installs=False)
    assert plain[1]
    assert collected(pytester, monkeypatch, installs=True) == plain


@with_a_tested_pytest
def test_what_somebody_else_put_in_its_place_is_asked(pytester, monkeypatch):
    pytester.makepyfile(test_it=SOURCE, conftest=CONFTEST, for_one_item="")

    def getfixtureclosure(self, parentnode, initialnames, ignore_args):
        return ["request"], {}

    monkeypatch.setattr(fixtures.FixtureManager, "getfixtureclosure", getfixtureclosure)
    assert all(item[7] == ["request"] for item in collected(pytester, monkeypatch, installs=True)[1])


#: A session within a test: hooks and fixtures of its own, and hooks that are listened to.
WITHIN = """
pytest_plugins = ["pytester"]

def test_of_its_own(pytester):
    pytester.makepyfile("def test_a(): pass\\ndef test_b(): pass")
    pytester.makeconftest(
        "def pytest_generate_tests(metafunc):\\n"
        "    if metafunc.function.__name__ == 'test_b':\\n"
        "        metafunc.fixturenames.append('t')\\n"
        "        metafunc.parametrize('t', [1, 2])\\n"
    )
    pytester.inline_run().assertoutcome(passed=3)

def test_listened_to(pytester):
    pytester.makepyfile("def test_a(): pass\\ndef test_b(): pass")
    recorded = pytester.inline_run("--collect-only")
    assert len(recorded.getcalls("pytest_generate_tests")) == 2
"""


@with_a_tested_pytest
def test_sessions_within_tests_are_pytests_alone(pytester, monkeypatch):
    pytester.makepyfile(test_it="def test_x(): pass\ndef test_y(): pass\n", test_within=WITHIN)
    monkeypatch.setattr(fixtures, "getfuncargnames", compat.getfuncargnames)
    monkeypatch.setattr(fixtures, "reorder_items", fixtures.reorder_items)
    monkeypatch.setattr(python.PyCollector, "_genfunctions", python.PyCollector._genfunctions)
    pytester.inline_run(plugins=[Installs()]).assertoutcome(passed=4)
