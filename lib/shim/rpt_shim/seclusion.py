"""Owns which test modules nobody else of the project looked at while pytest collected: what other files
made of them cannot have changed when they change. Their sources may say so, too, but one that imports by
names that it puts together says nothing; here it is seen, and in `dependencies` who reads its file.

A module that pytest rewrites is watched from before its first line runs until the collection ends: whoever
imports it again, or reads one of its names, asks it for an attribute. Pytest and what is installed may do
that, and so may the module itself.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from _pytest.pathlib import fnmatch_ex


class Seclusion:
    """Of one collection."""

    def __init__(self, installed: Iterable[str]) -> None:
        """`installed`: where the standard library and what is installed lie."""
        self._installed = tuple(prefix + os.sep for prefix in installed)
        self._patterns: list[str] = []
        #: The modules that were made of each file.
        self._made: dict[str, list[types.ModuleType]] = {}
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
            self._patterns = config.getini("python_files")
            hook.create_module = self._create

    def _create(self, spec: ModuleSpec) -> types.ModuleType | None:
        path = spec.origin or ""
        if self._kind is None or not self.is_project(path):
            return None
        if not any(fnmatch_ex(pattern, path) for pattern in self._patterns):
            return None
        module: types.ModuleType = self._kind(spec.name)
        self._made.setdefault(path, []).append(module)
        self._seen[id(_namespace(module))] = False
        return module

    def is_project(self, path: str) -> bool:
        """Whether code of this file is the project's."""
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
        if "__getattr__" in own:
            # It may look who asks.
            self._seen[id(own)] = True
            module.__class__ = types.ModuleType
            return
        while frame is not None:
            if frame.f_globals is own:
                return
            if self.is_project(frame.f_code.co_filename):
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
        for path, modules in self._made.items():
            # What became something else, or is not the one that Python has, says nothing.
            are_known = [
                type(module) is kind and not self._seen[id(_namespace(module))] and _is_current(module)
                for module in modules
            ]
            for module in modules:
                if type(module) is kind:
                    module.__class__ = types.ModuleType
            if are_known == [True]:
                self.files.append(path)
        self._made, self._seen = {}, {}


def _is_current(module: types.ModuleType) -> bool:
    name = _namespace(module).get("__name__")
    return isinstance(name, str) and sys.modules.get(name) is module


def _namespace(module: types.ModuleType) -> dict[str, Any]:
    return types.ModuleType.__getattribute__(module, "__dict__")


def _watched_kind(seclusion: Seclusion) -> type[types.ModuleType] | None:
    class Module(types.ModuleType):
        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            __tracebackhide__ = True
            frame = sys._getframe(1)
            # Mostly it is pytest.
            if not str(frame.f_globals.get("__name__")).startswith("_pytest."):
                seclusion.look(self, frame)
            return super().__getattribute__(name)

    Module.__name__ = Module.__qualname__ = "module"
    return Module
