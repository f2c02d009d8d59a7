"""Owns what pytest's own cache keeps of a run, so that `pytest --lf` goes on from
what rpt ran. Written by the server alone: workers never write the cache."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import pytest

from rpt_shim import wire


def holds_failures(config: pytest.Config) -> bool:
    """Whether an earlier run left failures, which tests that pass now take back."""
    plugin = config.pluginmanager.getplugin("lfplugin")
    return bool(plugin is not None and plugin.lastfailed)


def remember(config: pytest.Config, failed: list[str], ran: list[str]) -> None:
    """Tells the last-failed plugin, which writes its file when the session ends."""
    plugin = config.pluginmanager.getplugin("lfplugin")
    if plugin is None:
        return
    # pytest 9.2 keeps node id objects here, older ones texts; both write texts.
    taken_back = set(ran)
    for known in [known for known in plugin.lastfailed if wire.text(known) in taken_back]:
        del plugin.lastfailed[known]
    for node_id in failed:
        plugin.lastfailed[node_id] = True


def remember_ids(config: pytest.Config, ids: list[str]) -> None:
    """Tells pytest of tests that other processes collected: it keeps the ids of all it ever saw."""
    plugin = config.pluginmanager.getplugin("nfplugin")
    if plugin is not None and ids:
        # pytest 9.2 keeps node id objects here, older ones texts; both write texts.
        known = set(map(str, plugin.cached_nodeids))
        plugin.cached_nodeids.update(id for id in ids if id not in known)


def known_ids(config: Any) -> bytes | None:
    """What pytest writes down at each end of a session: the ids of all tests it ever saw."""
    plugin = config.pluginmanager.getplugin("nfplugin")
    if plugin is None or type(plugin).__module__ != "_pytest.cacheprovider":
        return None
    ids = sorted(map(str, plugin.cached_nodeids))
    return json.dumps(ids, ensure_ascii=False, indent=2).encode(errors="replace")


def forget_ids(config: Any, gone: set[str]) -> None:
    """Tests that there are no more, unless an earlier session has written them down."""
    plugin = config.pluginmanager.getplugin("nfplugin")
    if plugin is not None and gone:
        gone = gone - set(map(str, config.cache.get("cache/nodeids", [])))
        plugin.cached_nodeids = {known for known in plugin.cached_nodeids if str(known) not in gone}


def is_known(config: Any, known: bytes | None) -> bool:
    """Whether exactly these ids are written already, or nobody writes any."""
    if config.pluginmanager.getplugin("nfplugin") is None:
        return True
    try:
        with open(os.path.join(config.cache._cachedir, "v", "cache", "nodeids"), "rb") as file:
            return known is not None and file.read() == known
    except (AttributeError, OSError):
        return False


def keep_known_ids(config: Any, known: bytes | None) -> None:
    """Where exactly that is written already it is not worked out and written again: with
    many tests that takes longer than running one."""
    if is_known(config, known):
        with contextlib.suppress(ValueError):
            config.hook.pytest_sessionfinish._remove_plugin(config.pluginmanager.getplugin("nfplugin"))
