"""Tests of what is said of an item."""

from __future__ import annotations

from rpt_shim import inventory

SOURCE = """
import sys
import unittest
import pytest

pytestmark = pytest.mark.slow

class TestOuter:
    class TestInner:
        @pytest.mark.parametrize("x", ["a::b", "[c]"])
        def test_method(self, x): pass

@pytest.mark.skipif(True, reason="always")
def test_skipped(): pass

@pytest.mark.skipif("sys.platform == 'nowhere'", reason="never")
def test_not_skipped(): pass

@pytest.mark.skipif("undefined_name", reason="cannot be evaluated")
def test_broken_condition(): pass

@pytest.mark.xfail(False, reason="no")
def test_not_xfailed(): pass

@pytest.mark.xfail
def test_xfailed(): pass

@pytest.mark.xdist_group(name="db")
def test_grouped(): pass

@pytest.mark.xdist_group
def test_default_group(): pass

class Unit(unittest.TestCase):
    @unittest.skip("no")
    def test_unit_skipped(self): pass

    @unittest.expectedFailure
    def test_unit_xfailed(self): pass
"""


def described(pytester):
    items, _ = pytester.inline_genitems(pytester.makepyfile(SOURCE), "-p", "no:cacheprovider")
    describer = inventory.Describer()
    return {item.name: describer.full(item)[0] for item in items}


def test_fields(pytester):
    by_name = described(pytester)
    identity, path, lineno, name, class_name, markers, skip, xfail, group, keywords, fixtures = by_name[
        "test_method[a::b]"
    ]
    assert identity == "test_fields.py::TestOuter::TestInner::test_method[a::b]"
    assert (path, lineno, name) == ("test_fields.py", 9, "test_method[a::b]")
    assert class_name == "TestOuter::TestInner"
    assert markers == ["parametrize", "slow"]
    assert (skip, xfail, group, fixtures) == (False, False, None, None)
    # Before pytest 9 -k matches every attribute of a function.
    assert keywords in (None, ["pytestmark"])


def test_skip_and_xfail_as_pytest_sees_them(pytester):
    by_name = described(pytester)
    assert {name for name, fields in by_name.items() if fields[6]} == {"test_skipped", "test_unit_skipped"}
    assert {name for name, fields in by_name.items() if fields[7]} == {"test_xfailed", "test_unit_xfailed"}


def test_groups(pytester):
    by_name = described(pytester)
    assert by_name["test_grouped"][8] == "db"
    assert by_name["test_default_group"][8] == "default"


def test_selectors_hold_what_pytest_matches(pytester):
    from _pytest.mark import KeywordMatcher

    source = SOURCE + "\ntest_grouped.tagged = True\ntest_grouped._hidden = True\n"
    items, _ = pytester.inline_genitems(pytester.makepyfile(source), "-p", "no:cacheprovider")
    items[0].parent.extra_keyword_matches.add("from above")
    items[0].extra_keyword_matches.add("its own")
    describer = inventory.Describer()
    for item in items:
        number = describer.full(item)[1]
        names, marks = describer.selectors[number]
        assert {*names, item.name} == set(KeywordMatcher.from_item(item)._names)
        assert [mark[0] for mark in marks] == [mark.name for mark in item.iter_markers()]


def test_what_a_mark_s_argument_equals():
    class Own:
        def __eq__(self, other):
            return True

    class Plain:
        pass

    for value, expected in [
        (None, ("none", "")),
        ("a b", ("text", "a b")),
        (True, ("number", "1")),
        (-7, ("number", "-7")),
        (2.0, ("number", "2")),
        (2.5, ("never", "")),
        ([1], ("never", "")),
        (Plain(), ("never", "")),
        (Own(), ("unknown", "")),
    ]:
        assert inventory._equal_to(value) == expected
