"""Owns answers that pytest works out anew for each item of a collection, though they
are the same for its neighbours or can be read off a plain function: a function's arguments, the
fixtures that a set of names leads to, the items of a function, whether it hides a fixture,
the order of items that share no parameter, and where a function stands.

Each shortcut is taken only where its answer is the one that pytest's own code gives,
and leaves everything else to that code. Only for versions of pytest that were read and
compared; if somebody else replaces what is stood for, theirs is asked.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from _pytest import fixtures, python
from pluggy._callers import _multicall

from rpt_shim import versions

#: Attributes by which a function stands for another one, or says what it takes.
STANDS_FOR_ANOTHER = ("__wrapped__", "__signature__", "__pytest_wrapped__", "place_as", "compat_co_firstlineno")

#: What a fixture manager asks of itself for an item beside the closure.
OF_MANAGER = frozenset(("getfixtureinfo", "_getautousenames", "_getusefixturesnames"))

#: Marks that change a function's fixtures or how many items it has.
OF_FIXTURES = ("parametrize", "usefixtures")


def install(session: pytest.Session) -> None:
    """Takes the shortcuts from here on, where this pytest is one of the tested versions."""
    if not versions.is_tested() or fixtures.getfuncargnames.__module__ != "_pytest.compat":
        return
    fixtures.getfuncargnames = _argument_names(fixtures.getfuncargnames)
    if fixtures.reorder_items.__module__ == "_pytest.fixtures":
        fixtures.reorder_items = _order(fixtures.reorder_items)
    closures = Closures(session)
    closures.install()
    Definitions(session, closures).install()


def forget(session: pytest.Session) -> None:
    """Fixtures are gone: what names lead to is looked up anew."""
    closures = getattr(vars(session._fixturemanager).get("getfixtureclosure"), "__self__", None)
    if isinstance(closures, Closures):
        closures.known.clear()
        closures.registered += 1


def plain_function(function: Any) -> types.FunctionType | None:
    """The function itself, or that of a bound method, where it stands for no other one."""
    if type(function) is types.MethodType:
        function = function.__func__
    if type(function) is not types.FunctionType:
        return None
    attributes = function.__dict__
    if attributes and any(name in attributes for name in STANDS_FOR_ANOTHER):
        return None
    return function


def _argument_names(pytests: Callable[..., tuple[str, ...]]) -> Callable[..., tuple[str, ...]]:
    """Stands for compat.getfuncargnames."""

    def getfuncargnames(function: Any, *, name: str = "", cls: type | None = None) -> tuple[str, ...]:
        plain = plain_function(function)
        bound = plain is not function
        # A function as its class has it loses its first argument; what stands there for it may not.
        owned = cls is not None and not bound
        if plain is None or (owned and (type(cls) is not type or cls.__dict__.get(name) is not plain)):
            return pytests(function, name=name, cls=cls)
        code = plain.__code__
        if code.co_posonlyargcount or (bound and not code.co_argcount):
            return pytests(function, name=name, cls=cls)
        required = code.co_argcount - len(plain.__defaults__ or ())
        names = code.co_varnames[bound:required] if required > bound else ()
        if code.co_kwonlyargcount:
            optional = plain.__kwdefaults__ or {}
            keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            names += tuple(keyword for keyword in keywords if keyword not in optional)
        return names[1:] if owned else names

    return getfuncargnames


def _order(pytests: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Stands for fixtures.reorder_items, which moves items together that share a parameter
    of a scope wider than a function."""

    def shares_parameters(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        return callspec is not None and any(
            scope is not fixtures.Scope.Function for scope in callspec._arg2scope.values()
        )

    def reorder_items(items: Any) -> list[Any]:
        if len(dict.fromkeys(items)) < len(items) or any(map(shares_parameters, items)):
            return pytests(items)
        return list(items)

    return reorder_items


class Closures:
    """The fixtures that the same names lead to below the same node, until somebody
    registers another fixture. Stands for FixtureManager.getfixtureclosure."""

    def __init__(self, session: pytest.Session) -> None:
        self.manager: Any = session._fixturemanager
        self.of_class = type(self.manager).getfixtureclosure
        self.of_information = type(self.manager).getfixtureinfo
        self.pytests = self.manager.getfixtureclosure
        self.register = self.manager._register_fixture
        self.known: dict[Any, tuple[list[str], dict[str, Any]]] = {}
        #: How many fixtures were registered until now.
        self.registered = 0
        #: Items that a fixture was registered for are not as their neighbours.
        self.usable = True

    def install(self) -> None:
        known = (self.of_class, self.of_information)
        if "getfixtureclosure" in vars(self.manager) or any(each.__module__ != "_pytest.fixtures" for each in known):
            self.usable = False
            return
        self.manager.getfixtureclosure = self.getfixtureclosure
        self.manager._register_fixture = self.register_fixture
        if self.manager._find_wrapped_fixture_def.__module__ == "_pytest.fixtures":
            self.find_wrapped = self.manager._find_wrapped_fixture_def
            self.manager._find_wrapped_fixture_def = self.find_wrapped_fixture_def

    def is_asked(self) -> bool:
        """Whether the answers still are what pytest asks for, and nobody stands before them."""
        manager = self.manager
        kind, own = type(manager), vars(manager)
        return (
            self.usable
            and kind.getfixtureclosure is self.of_class
            and kind.getfixtureinfo is self.of_information
            and own.get("getfixtureclosure") == self.getfixtureclosure
            and OF_MANAGER.isdisjoint(own)
        )

    def find_wrapped_fixture_def(self, obj: Any) -> Any:
        """A function without attributes wraps nothing."""
        return None if type(obj) is types.FunctionType and not obj.__dict__ else self.find_wrapped(obj)

    def register_fixture(self, **fixture: Any) -> None:
        self.known.clear()
        self.registered += 1
        node = fixture.get("node")
        self.usable = self.usable and not isinstance(node, pytest.Item) and not isinstance(fixture.get("nodeid"), str)
        self.register(**fixture)

    def getfixtureclosure(
        self, parentnode: Any, initialnames: tuple[str, ...], ignore_args: Any
    ) -> tuple[list[str], dict[str, Any]]:
        if type(self.manager).getfixtureclosure is not self.of_class:
            return type(self.manager).getfixtureclosure(self.manager, parentnode, initialnames, ignore_args)
        if not self.usable or not isinstance(parentnode, pytest.Item):
            return self.pytests(parentnode=parentnode, initialnames=initialnames, ignore_args=ignore_args)
        key = (parentnode.parent, initialnames, frozenset(ignore_args))
        found = self.known.get(key)
        if found is None:
            found = self.pytests(parentnode=parentnode, initialnames=initialnames, ignore_args=ignore_args)
            self.known[key] = found
        # pytest changes both when it parametrizes.
        return list(found[0]), dict(found[1])


class Definitions:
    """The items of a function that is as an earlier one of its module or class: the same
    arguments, no mark that concerns fixtures, and no hook but pytest's own that could
    parametrize it. That one gave a single item, so this one does, with the same fixtures.
    Stands for PyCollector._genfunctions."""

    def __init__(self, session: pytest.Session, closures: Closures) -> None:
        #: Sessions that tests start within this one are none of its business.
        self.session = session
        self.closures = closures
        self.manager = session.config.pluginmanager
        self.hook = session.config.hook.pytest_generate_tests
        self.pytests = python.PyCollector._genfunctions
        self.kinds = (python.Function, python.FunctionDefinition, python.Metafunc)
        #: The implementations of the hook that were looked at last, and whether they are pytest's own.
        self.hooks: list[Any] = []
        self.hooks_are_own = False
        #: The collector that was at work last, the nodes it stands in, and how many fixtures and
        #: marks there were when it was looked at.
        self.collector: Any = None
        self.chain: list[Any] = []
        self.counted = (-1, -1)
        self.alike = False
        self.cls: Any = None
        self.known: dict[tuple[str, ...], Any] = {}

    def install(self) -> None:
        if not self.closures.usable or self.pytests.__module__ != "_pytest.python":
            return
        definitions = self

        def _genfunctions(self: Any, name: str, funcobj: Any) -> Any:
            return definitions.items(self, name, funcobj)

        python.PyCollector._genfunctions = _genfunctions

    def items(self, collector: Any, name: str, function: Any) -> Iterator[Any]:
        if (
            collector.session is not self.session
            or not self._is_alike(collector)
            or not _says_nothing_of_fixtures(function)
        ):
            return self.pytests(collector, name, function)
        names = fixtures.getfuncargnames(function, name=name, cls=self.cls)
        info = self.known.get(names)
        if info is not None:
            return iter([python.Function.from_parent(collector, name=name, fixtureinfo=_copy(info))])
        items = list(self.pytests(collector, name, function))
        if len(items) == 1 and type(items[0]) is self.kinds[0] and not hasattr(items[0], "callspec"):
            self.known[names] = _copy(items[0]._fixtureinfo)
        return iter(items)

    def _is_alike(self, collector: Any) -> bool:
        """Whether nothing but its arguments tells a function of this collector from the next one."""
        if collector is not self.collector:
            self.collector, self.chain, self.counted = collector, collector.listchain(), (-1, -1)
        counted = (self.closures.registered, sum([len(node.own_markers) for node in self.chain]))
        if counted != self.counted:
            self.counted = counted
            self.known.clear()
            module, of_class = collector.getparent(pytest.Module), collector.getparent(pytest.Class)
            self.cls = of_class and of_class.obj
            self.alike = not (
                any(hasattr(holder, "pytest_generate_tests") for holder in (module.obj, self.cls))
                or any(mark.name in OF_FIXTURES for mark in collector.iter_markers())
            )
        hooks = self.hook.get_hookimpls()
        if hooks != self.hooks:
            self.hooks = hooks
            self.hooks_are_own = all(
                found.function.__module__ in ("_pytest.python", "_pytest.fixtures") for found in hooks
            )
        return (
            self.alike
            and self.hooks_are_own
            and self.closures.is_asked()
            and self.kinds == (python.Function, python.FunctionDefinition, python.Metafunc)
            and self.manager._inner_hookexec is _multicall
        )


def _copy(info: Any) -> Any:
    """pytest changes what it gave to an item when it parametrizes it."""
    return fixtures.FuncFixtureInfo(
        info.argnames, info.initialnames, list(info.names_closure), dict(info.name2fixturedefs)
    )


def _says_nothing_of_fixtures(function: Any) -> bool:
    """Whether the function has no attribute but marks that change neither its fixtures nor its items."""
    if type(function) is not types.FunctionType:
        return False
    attributes = function.__dict__
    if not attributes:
        return True
    marks = attributes.get("pytestmark")
    return (
        len(attributes) == 1
        and type(marks) is list
        and all(type(mark) is pytest.Mark and mark.name not in OF_FIXTURES for mark in marks)
    )


class Places:
    """Where items are defined: the path relative to rootdir, and the 0-based line.
    Stands for the first two of Item.location."""

    def __init__(self) -> None:
        #: By the file that a function's code names.
        self.paths: dict[str, str] = {}
        self.usable = pytest.Function.reportinfo.__module__ == "_pytest.python"

    def of(self, item: pytest.Item) -> tuple[str, int | None]:
        # A class of its own may say something else of itself.
        plain = plain_function(item.obj) if self.usable and type(item) is pytest.Function else None
        if plain is None:
            return item.location[:2]
        code = plain.__code__
        path = self.paths.get(code.co_filename)
        if path is None:
            path = self.paths[code.co_filename] = item.location[0]
        return path, code.co_firstlineno - 1
