"""Tests of what is said of a collection's dependencies."""

from __future__ import annotations

import time

from rpt_shim import dependencies
from rpt_shim.dependencies import Dependencies


def test_what_cannot_be_told_keeps_nothing_and_costs_nothing(request, monkeypatch):
    def broken(_config):
        raise RuntimeError("a plugin that cannot be looked at")

    watched = Dependencies(time.time())
    watched.stop()
    told = watched.report(request.session)
    assert told["unseen"] is None or isinstance(told["unseen"], str)
    monkeypatch.setattr(dependencies, "_foreign_hooks", broken)
    nothing = watched.report(request.session)
    assert nothing.keys() == told.keys()
    assert "RuntimeError: a plugin that cannot be looked at" in nothing["unseen"]
    assert (nothing["files"], nothing["listings"]) == ([], [])
