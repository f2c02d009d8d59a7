"""Tests of what marks and configuration say about limits and reruns."""

from __future__ import annotations

import pytest

from rpt_shim import inventory, marks


@pytest.fixture
def briefs(pytester):
    def briefs_of(source):
        items = pytester.getitems(source)
        return {item.name: ([*inventory.brief(item), None, None])[2] for item in items}

    return briefs_of


def test_marks_of_limits(briefs):
    said = briefs("""
        import pytest
        def test_plain(): pass
        @pytest.mark.timeout(3)
        def test_seconds(): pass
        @pytest.mark.timeout(timeout="0.5", func_only=True)
        def test_words(): pass
        @pytest.mark.timeout(-1)
        def test_wrong(): pass
        @pytest.mark.timeout(9)
        class TestNearest:
            def test_class(self): pass
            @pytest.mark.timeout(1)
            def test_own(self): pass
    """)
    assert said["test_plain"] is None
    assert said["test_seconds"] == {"timeout": 3.0}
    assert said["test_words"] == {"timeout": 0.5, "func_only": True}
    assert said["test_wrong"] == {"problem": "timeout: -1 is no number of seconds"}
    assert (said["test_class"], said["test_own"]) == ({"timeout": 9.0}, {"timeout": 1.0})


def test_marks_of_reruns(briefs):
    said = briefs("""
        import pytest
        @pytest.mark.flaky
        def test_bare(): pass
        @pytest.mark.flaky(3)
        def test_place(): pass
        @pytest.mark.flaky(reruns=2, reruns_delay=1, only_rerun=["Timeout", OSError], rerun_except="Assert")
        def test_words(): pass
        @pytest.mark.flaky(max_runs=3)
        def test_foreign(): pass
        @pytest.mark.flaky(reruns=2, condition=False)
        def test_not_here(): pass
        @pytest.mark.flaky(reruns="many")
        def test_wrong(): pass
    """)
    assert said["test_bare"] == {"reruns": 1}
    assert said["test_place"] == {"reruns": 3}
    assert said["test_words"] == {
        "reruns": 2,
        "reruns_delay": 1.0,
        "only_rerun": ["Timeout", "OSError"],
        "rerun_except": ["Assert"],
    }
    assert said["test_foreign"] is None
    assert said["test_not_here"] is None
    assert said["test_wrong"] == {"problem": "reruns: 'many' is no number"}


@pytest.mark.parametrize("wrong", ["soon", "-1", "inf", "nan"])
def test_what_is_no_time(wrong):
    with pytest.raises(pytest.UsageError, match="no number of seconds"):
        marks._seconds(wrong, "timeout")


def test_marks_of_what_tests_share(briefs):
    said = briefs("""
        import pytest
        pytestmark = pytest.mark.rpt_exclusive("server")
        @pytest.mark.rpt_uses("db")
        class TestUses:
            @pytest.mark.rpt_uses("cache", "db")
            def test_more(self): pass
        @pytest.mark.rpt_serial
        def test_alone(): pass
        @pytest.mark.rpt_uses
        def test_nothing(): pass
        @pytest.mark.rpt_uses("db", count=2)
        def test_count(): pass
        @pytest.mark.rpt_uses(3)
        def test_number(): pass
        @pytest.mark.rpt_serial("db")
        def test_alone_with(): pass
        @pytest.mark.rpt_exclusive(["a"])
        def test_list(): pass
    """)
    server = {"exclusive": ["server"]}
    assert said["test_more"] == {**server, "uses": ["cache", "db"]}
    assert said["test_alone"] == {**server, "serial": True}
    names = "it takes names, as in rpt_uses('db')"
    assert said["test_nothing"] == {**server, "uses": [], "misuse": f"rpt_uses(): {names}"}
    assert said["test_count"] == {**server, "uses": ["db"], "misuse": f"rpt_uses('db', count=2): {names}"}
    assert said["test_number"] == {**server, "uses": [], "misuse": f"rpt_uses(3): {names}"}
    assert said["test_alone_with"] == {**server, "serial": True, "misuse": "rpt_serial('db'): it takes nothing"}
    assert said["test_list"]["misuse"] == "rpt_exclusive(['a']): it takes names, as in rpt_exclusive('db')"
