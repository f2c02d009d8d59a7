"""Owns what pytest's own cache keeps of a run, so that `pytest --lf` goes on from
what rpt ran. Written by the server alone: workers never write the cache."""

from __future__ import annotations

import pytest


def holds_failures(config: pytest.Config) -> bool:
    """Whether an earlier run left failures, which tests that pass now take back."""
    plugin = config.pluginmanager.getplugin("lfplugin")
    return bool(plugin is not None and plugin.lastfailed)


def remember(config: pytest.Config, failed: list[str], ran: list[str]) -> None:
    """Tells the last-failed plugin, which writes its file when the session ends."""
    plugin = config.pluginmanager.getplugin("lfplugin")
    if plugin is None:
        return
    for node_id in ran:
        plugin.lastfailed.pop(node_id, None)
    for node_id in failed:
        plugin.lastfailed[node_id] = True
