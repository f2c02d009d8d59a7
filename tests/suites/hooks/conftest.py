"""Hooks around every test: each must be called as pytest calls it."""

import pytest

CALLS = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    CALLS.append(("protocol", item.name, nextitem.name if nextitem else None))
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.sections.append(("from the conftest", item.name))
    if report.when == "call" and "forgiven" in item.keywords:
        report.outcome = "passed"
        report.longrepr = None
    if report.when == "call" and item.name == "test_condemned":
        report.outcome = "failed"
        report.longrepr = "condemned by the conftest"


def pytest_runtest_setup(item):
    if item.get_closest_marker("skipped_by_hook"):
        pytest.skip("by pytest_runtest_setup")


def pytest_pyfunc_call(pyfuncitem):
    if pyfuncitem.name == "test_called_by_hook":
        return True
    return None


def pytest_assertrepr_compare(left, right):
    if left == "compare" and right == "me":
        return ["compared by the conftest"]
    return None


def pytest_configure(config):
    for mark in ("forgiven", "skipped_by_hook"):
        config.addinivalue_line("markers", mark)


@pytest.fixture
def calls():
    return CALLS
