"""Owns what a server that stays has worked out before a client comes, so that no client waits for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rpt_shim import cache, inventory, sharing, wire
from rpt_shim.renewed import Doubt, Replaced, Runs


class Prepared:
    """Of one collection."""

    def __init__(self, session: pytest.Session) -> None:
        self._briefs = [wire.encode(inventory.brief(item)) for item in session.items]
        #: Where the tests of a file stand.
        self.runs = Runs(session.items)
        #: The messages that describe all items.
        self.items = list(messages(self._briefs))
        #: Shared fixtures and who uses them.
        self.shared = sharing.used(session, [])[0]
        #: The ids of all tests, as pytest's cache has them.
        self.known_ids = cache.known_ids(session.config)

    def of_files(self, files: list[str]) -> Iterator[bytes]:
        """The messages that describe the items of these files, each with the number of its first."""
        for start, stop in self.runs.of(set(files)):
            yield message(self._briefs[start:stop], start)
        yield message([])

    def takes_in(self, session: pytest.Session, replaced: list[Replaced]) -> None:
        """Some files were collected again."""
        gone: set[str] = set()
        come: set[str] = set()
        for start, stop, before, items in replaced:
            self._briefs[start:stop] = [wire.encode(inventory.brief(item)) for item in items]
            gone.update(item.nodeid for item in before)
            come.update(item.nodeid for item in items)
        if not len(self._briefs) == len(session.items) == self.runs.count():
            raise Doubt("its tests are not where they are looked for")
        self.items = list(messages(self._briefs))
        self.shared = sharing.used(session, [])[0]
        if gone != come:
            cache.forget_ids(session.config, gone - come)
            self.known_ids = cache.known_ids(session.config)


def messages(described: list[bytes]) -> Iterator[bytes]:
    """Messages with these items, each encoded already, and the one that ends them."""
    for start in range(0, len(described), inventory.CHUNK):
        yield message(described[start : start + inventory.CHUNK])
    yield message([])


def message(described: list[bytes], start: int | None = None) -> bytes:
    """With the number of the first, where it does not follow what was said before."""
    place = b"" if start is None else b'"start":%d,' % start
    return b'{"type":"items",%s"items":[%s]}' % (place, b",".join(described))
