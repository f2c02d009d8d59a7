"""The `subtests` fixture of pytest 9."""

import pytest

if not hasattr(pytest, "Subtests"):
    pytest.skip("this pytest has no subtests", allow_module_level=True)


def test_all_pass(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number < 3


def test_one_fails(subtests):
    for number in range(3):
        with subtests.test("with a message", number=number):
            assert number != 1


def test_one_skips(subtests):
    with subtests.test("skips"):
        pytest.skip("inside")


def test_one_xfails(subtests):
    with subtests.test("xfails"):
        pytest.xfail("inside")


def test_fails_outside(subtests):
    with subtests.test("passes"):
        pass
    raise AssertionError


def test_one_fails_and_test_skips(subtests):
    with subtests.test("fails"):
        raise AssertionError
    pytest.skip("after a failed subtest")


@pytest.mark.xfail
def test_one_fails_as_expected(subtests):
    with subtests.test("fails"):
        raise AssertionError


def test_one_fails_and_teardown_fails(subtests, broken_teardown):
    with subtests.test("fails"):
        raise AssertionError


def test_odd_description(subtests):
    with subtests.test("spaces, :: and [brackets] 🐍\n", key="a\nb"):
        raise AssertionError
