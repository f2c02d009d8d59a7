import pytest


def test_protocol_is_wrapped(calls):
    assert calls[-1][:2] == ("protocol", "test_protocol_is_wrapped")


@pytest.mark.forgiven
def test_forgiven():
    raise AssertionError


def test_condemned():
    pass


@pytest.mark.skipped_by_hook
def test_skipped():
    raise AssertionError


def test_called_by_hook():
    raise AssertionError


def test_comparison():
    assert "compare" == "me"


def test_plugin(from_plugin):
    assert from_plugin == "vanilla"
