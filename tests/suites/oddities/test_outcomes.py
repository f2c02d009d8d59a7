"""Every outcome in each phase, and their combinations."""

import sys

import pytest


def test_passes():
    assert True


def test_fails():
    left, right = [1, 2, 3], [1, 2, 4]
    assert left == right


def test_raises():
    raise RuntimeError("a fault")


def test_raises_base_exception():
    raise BaseException("beyond Exception")


def test_raises_a_chain():
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("a chain") from error


def test_raises_generator_exit():
    raise GeneratorExit


def test_exits_by_sys_exit():
    sys.exit(3)


def test_pytest_fail():
    pytest.fail("said by hand", pytrace=False)


def test_setup_fails(broken_setup):
    pass


def test_teardown_fails(broken_teardown):
    pass


def test_two_teardowns_fail(broken_teardown, another_broken_teardown):
    pass


def test_call_and_teardown_fail(broken_teardown):
    raise AssertionError("the call fails as well")


def test_call_skips_and_teardown_fails(broken_teardown):
    pytest.skip("the call skips")


def test_setup_fails_and_teardown_fails(broken_teardown, broken_setup):
    pass


def test_teardown_skips(skipping_teardown):
    pass


def test_unknown_fixture(no_such_fixture):
    pass


def test_returns_a_value():
    return 1 == 1


def test_recursion():
    def again():
        return again()

    again()


async def test_coroutine_without_a_plugin():
    raise AssertionError("must not be reported as passed")


class UnprintableError(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


def test_raises_an_unprintable_error():
    raise UnprintableError


class UnprintableValue:
    def __repr__(self):
        raise RuntimeError("no repr")


def test_compares_an_unprintable_value():
    value = UnprintableValue()
    assert value == 1


class BrokenInit:
    def __init__(self):
        self.value = 1


class TestWithInit(BrokenInit):
    """pytest does not collect a class with a constructor; it warns."""

    def __init__(self):
        super().__init__()

    def test_never(self):
        raise AssertionError


def test_message_with_odd_characters():
    raise AssertionError("nul \0, bell \a, escape \x1b[31m, surrogate \udc80, snake 🐍")


def test_long_message():
    raise AssertionError("x" * 200_000)
