"""Owns what makes it possible to fork one collection for client after client: whether
anything of the project ends with a session, and what a fork must look at again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import types
import warnings
from collections.abc import Iterable
from typing import Any

import pytest

from rpt_shim.dependencies import installed_prefixes

#: Hooks of a session's end.
LAST_HOOKS = ("pytest_sessionfinish", "pytest_unconfigure")


def ends_itself(config: pytest.Config) -> bool:
    """Whether the project ends something with the session: what it began once would then
    end in each fork, and be missing in the next."""
    prefixes = tuple(prefix + os.sep for prefix in installed_prefixes())
    files = [*_files_of_hooks(config), *files_of_cleanups(config)]
    return any(not path.startswith(("<", *prefixes)) for path in files)


def _files_of_hooks(config: pytest.Config) -> Iterable[str]:
    for name in LAST_HOOKS:
        for implementation in getattr(config.hook, name).get_hookimpls():
            plugin = implementation.plugin
            module = sys.modules.get(getattr(plugin, "__name__", None) or type(plugin).__module__)
            yield getattr(module, "__file__", None) or "<unknown>"


def files_of_cleanups(config: Any) -> Iterable[str]:
    """Where what a session calls at its very end is written."""
    stack = getattr(config, "_cleanup_stack", None)
    # pytest 7 keeps a list.
    yield from _files_of(_called_by(stack) if stack else getattr(config, "_cleanup", []))


def _called_by(stack: contextlib.ExitStack) -> list[Any]:
    return [callback for _, callback in stack._exit_callbacks]  # type: ignore[attr-defined]


def _files_of(callbacks: Iterable[Any]) -> Iterable[str]:
    for callback in callbacks:
        function = getattr(callback, "__wrapped__", callback)
        function = getattr(function, "func", function)
        held = getattr(function, "__self__", None)
        if isinstance(held, contextlib.ExitStack):
            yield from _files_of(_called_by(held))
        elif not isinstance(held, warnings.catch_warnings):
            # Which warnings are shown ends with the process.
            generator = getattr(held, "gen", None)
            code = getattr(getattr(function, "__func__", function), "__code__", None)
            code = generator.gi_code if isinstance(generator, types.GeneratorType) else code
            yield getattr(code, "co_filename", "<unknown>")


def look_again(config: pytest.Config) -> None:
    """Takes in what other runs left in pytest's cache, so that it is not undone."""
    plugin = config.pluginmanager.getplugin("lfplugin")
    cache = getattr(config, "cache", None)
    if plugin is not None and cache is not None:
        plugin.lastfailed = cache.get("cache/lastfailed", {})
