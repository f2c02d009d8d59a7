"""A collector that gives two items one id: pytest runs both."""

import pytest


class Pair(pytest.File):
    def collect(self):
        for verdict in (True, True):
            item = Half.from_parent(self, name="half")
            item.verdict = verdict
            yield item


class Half(pytest.Item):
    def runtest(self):
        assert self.verdict


def pytest_collect_file(file_path, parent):
    return Pair.from_parent(parent, path=file_path) if file_path.suffix == ".pair" else None
