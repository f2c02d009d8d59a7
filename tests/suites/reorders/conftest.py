"""Reorders and deselects, as many conftests do."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--with-slow", action="store_true")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: only with --with-slow")


def pytest_itemcollected(item):
    if item.name.endswith("[3]"):
        item.add_marker(pytest.mark.xfail(reason="marked while collecting"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    items.reverse()
    for item in items:
        if "slow" in item.keywords and not config.getoption("--with-slow"):
            item.add_marker(pytest.mark.skip(reason="needs --with-slow"))
    gone = [item for item in items if "unwanted" in item.name]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]
