"""Owns what pytest's own cache keeps of a run, so that `pytest --lf` goes on from
what rpt ran. Written by the server alone: workers never write the cache."""

from __future__ import annotations

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
