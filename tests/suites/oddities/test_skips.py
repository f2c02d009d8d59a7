"""Skip in all its forms."""

import sys
import unittest

import pytest


@pytest.mark.skip
def test_mark():
    raise AssertionError


@pytest.mark.skip(reason="not today")
def test_mark_with_reason():
    raise AssertionError


@pytest.mark.skip("positional")
def test_mark_positional():
    raise AssertionError


@pytest.mark.skipif(True, reason="always")
def test_skipif_true():
    raise AssertionError


@pytest.mark.skipif(False, reason="never")
def test_skipif_false():
    pass


@pytest.mark.skipif("sys.version_info > (3,)")
def test_skipif_text():
    raise AssertionError


@pytest.mark.skipif("no_such_name", reason="broken condition")
def test_skipif_broken_condition():
    pass


def test_from_inside():
    pytest.skip("from inside")


def test_from_fixture(skipping_setup):
    raise AssertionError


def test_importorskip():
    pytest.importorskip("no_such_module_anywhere")


def test_unittest_skip():
    raise unittest.SkipTest("unittest's own")


@pytest.mark.skip(reason="the whole class")
class TestSkippedClass:
    def test_one(self):
        raise AssertionError

    def test_two(self):
        raise AssertionError


class TestSkippingSetup:
    def setup_method(self):
        pytest.skip("from setup_method")

    def test_it(self):
        raise AssertionError


@pytest.mark.parametrize("value", [1, pytest.param(2, marks=pytest.mark.skip(reason="two")), 3])
def test_one_of_three(value):
    pass


@pytest.mark.parametrize("value", [])
def test_empty_parameters(value):
    raise AssertionError


@pytest.mark.skipif(sys.maxsize > 0, reason="first")
@pytest.mark.skip(reason="second")
def test_two_skips():
    raise AssertionError


@pytest.mark.skip(reason="skip wins")
@pytest.mark.xfail
def test_skip_and_xfail():
    raise AssertionError
