"""Expected failures in all their forms."""

import pytest


@pytest.mark.xfail
def test_fails():
    raise AssertionError


@pytest.mark.xfail
def test_passes():
    pass


@pytest.mark.xfail(strict=True)
def test_strict_fails():
    raise AssertionError


@pytest.mark.xfail(strict=True, reason="must fail")
def test_strict_passes():
    pass


@pytest.mark.xfail(run=False, reason="would hang")
def test_not_run():
    raise SystemError


@pytest.mark.xfail(raises=ValueError)
def test_raises_what_was_expected():
    raise ValueError


@pytest.mark.xfail(raises=ValueError)
def test_raises_something_else():
    raise TypeError


@pytest.mark.xfail(raises=(ValueError, TypeError), strict=True)
def test_raises_one_of_two():
    raise TypeError


@pytest.mark.xfail(False, reason="condition is false")
def test_condition_is_false():
    raise AssertionError


@pytest.mark.xfail("1 < 2", reason="condition as text")
def test_condition_as_text():
    raise AssertionError


@pytest.mark.xfail
def test_setup_fails(broken_setup):
    pass


@pytest.mark.xfail
def test_teardown_fails(broken_teardown):
    pass


@pytest.mark.xfail
def test_fails_and_teardown_fails(broken_teardown):
    raise AssertionError


@pytest.mark.xfail
def test_skips():
    pytest.skip("skipped all the same")


def test_from_inside():
    pytest.xfail("from inside")


def test_from_fixture(xfailing_setup):
    pass


def test_mark_added_while_running(request):
    request.node.add_marker(pytest.mark.xfail(reason="added late"))
    raise AssertionError


@pytest.mark.parametrize("value", [1, pytest.param(2, marks=pytest.mark.xfail(strict=True)), 3])
def test_one_of_three(value):
    assert value != 2
