"""Owns which test modules nobody else of the project looked at while pytest collected: what other files
made of them cannot have changed when they change. Their sources may say so, too, but one that imports by
names that it puts together says nothing; here it is seen.

A module that pytest rewrites is watched from before its first line runs until the collection ends: whoever
imports it again, or reads one of its names, asks it for an attribute. Pytest and what is installed may do
that, and so may the module itself.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from typing import Any

import pytest


class Seclusion:
    """Of one collection."""

    def __init__(self, installed: Iterable[str]) -> None:
        """`installed`: where the standard library and what is installed lie."""
        self._installed = tuple(installed)
        self._watched: list[types.ModuleType] = []
        #: By the namespace of a watched module: whether somebody else looked at it.
        self._seen: dict[int, bool] = {}
        #: By the file of code: whether it is the project's.
        self._is_project: dict[str, bool] = {}
        self._kind = _watched_kind(self)
        #: At its end: of the modules at which nobody else looked.
        self.files: list[str] = []

    def install(self, config: pytest.Config) -> None:
        """Before the first module is imported."""
        hook: Any = config.pluginmanager.rewrite_hook
        if hasattr(hook, "exec_module"):
            hook.create_module = self._create

    def _create(self, spec: ModuleSpec) -> types.ModuleType | None:
        if self._kind is None or not self._belongs(spec.origin or ""):
            return None
        module: types.ModuleType = self._kind(spec.name)
        self._watched.append(module)
        self._seen[id(_namespace(module))] = False
        return module

    def _belongs(self, path: str) -> bool:
        known = self._is_project.get(path)
        if known is None:
            known = self._is_project[path] = not path.startswith(("<", *self._installed))
        return known

    def look(self, module: types.ModuleType, frame: Any) -> None:
        """Somebody in this frame asks the module for an attribute."""
        own = _namespace(module)
        if self._seen.get(id(own), True):
            # It is known already.
            return
        while frame is not None:
            if frame.f_globals is own:
                return
            if self._belongs(frame.f_code.co_filename):
                self._seen[id(own)] = True
                return
            frame = frame.f_back

    def begin_again(self) -> None:
        """From here on, with the modules that come."""
        self.end()
        self._kind = _watched_kind(self)

    def end(self) -> None:
        """Modules are as Python makes them again."""
        kind, self._kind = self._kind, None
        if kind is None:
            return
        self.files = []
        for module in self._watched:
            if type(module) is not kind:
                # It became something else.
                continue
            module.__class__ = types.ModuleType
            if not self._seen[id(_namespace(module))] and sys.modules.get(module.__name__) is module:
                self.files.append(str(module.__file__))
        self._watched, self._seen = [], {}


def _namespace(module: types.ModuleType) -> dict[str, Any]:
    return types.ModuleType.__getattribute__(module, "__dict__")


def _watched_kind(seclusion: Seclusion) -> type[types.ModuleType] | None:
    class Module(types.ModuleType):
        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            frame = sys._getframe(1)
            # Mostly it is pytest.
            if not str(frame.f_globals.get("__name__")).startswith("_pytest."):
                seclusion.look(self, frame)
            return super().__getattribute__(name)

    Module.__name__ = Module.__qualname__ = "module"
    return Module
