"""Owns answers that pytest works out anew for each item of a collection, though they
are the same for its neighbours or can be read off a plain function: a function's
arguments, the fixtures that a set of names leads to, and where a function stands.

Each shortcut is taken only where its answer is the one that pytest's own code gives,
and leaves everything else to that code. Only for versions of pytest that were read and
compared; if somebody else replaces what is stood for, theirs is asked.
"""

from __future__ import annotations

import types
from typing import Any, Callable

import pytest
from _pytest import fixtures

from rpt_shim import versions

#: Attributes by which a function stands for another one, or says what it takes.
STANDS_FOR_ANOTHER = ("__wrapped__", "__signature__", "__pytest_wrapped__", "place_as", "compat_co_firstlineno")


def install(session: pytest.Session) -> None:
    """Takes the shortcuts from here on, where this pytest is one of the tested versions."""
    if not versions.is_tested() or fixtures.getfuncargnames.__module__ != "_pytest.compat":
        return
    fixtures.getfuncargnames = _argument_names(fixtures.getfuncargnames)
    Closures(session).install()


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
        if plain is None or (cls is not None and not bound):
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
        return names

    return getfuncargnames


class Closures:
    """The fixtures that the same names lead to below the same node, until somebody
    registers another fixture. Stands for FixtureManager.getfixtureclosure."""

    def __init__(self, session: pytest.Session) -> None:
        self.manager: Any = session._fixturemanager
        self.of_class = type(self.manager).getfixtureclosure
        self.pytests = self.manager.getfixtureclosure
        self.register = self.manager._register_fixture
        self.known: dict[Any, tuple[list[str], dict[str, Any]]] = {}
        #: Items that a fixture was registered for are not as their neighbours.
        self.usable = True

    def install(self) -> None:
        if "getfixtureclosure" in vars(self.manager) or self.of_class.__module__ != "_pytest.fixtures":
            return
        self.manager.getfixtureclosure = self.getfixtureclosure
        self.manager._register_fixture = self.register_fixture

    def register_fixture(self, **fixture: Any) -> None:
        self.known.clear()
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
