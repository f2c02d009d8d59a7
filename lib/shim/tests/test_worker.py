"""Tests of the loop that runs items, in this process and without rpt."""

from __future__ import annotations

import json
import tempfile

import pytest

from rpt_shim import board, wire
from rpt_shim.worker import Worker


class InProcess:
    """Takes the place of pytest's loop, as the server does. What was said is in
    `lines`, how many items took which protocol in `took`."""

    def __init__(self, order=None, protocol="full"):
        #: Items by number; without: all of them.
        self.order = order
        self.protocol = protocol
        self.lines = []
        self.took = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        order = range(len(session.items)) if self.order is None else self.order
        with tempfile.TemporaryFile() as page:
            page.write(bytes(board.SIZE))
            page.flush()
            self.board = board.Board(page.fileno())
        # Files in place of pipes: nobody reads while it runs.
        with tempfile.TemporaryFile() as work, tempfile.TemporaryFile() as results:
            work.write(b"".join(number.to_bytes(4, "little") for number in order))
            work.seek(0)
            worker = Worker(
                session.config, wire.Results(results.fileno()), wire.Work(work.fileno()), self.board, self.protocol
            )
            session.config.pluginmanager.register(worker)
            session.config.pluginmanager.register(self.board, "rpt-board")
            try:
                return worker.run(session)
            finally:
                session.config.pluginmanager.unregister(worker)
                results.seek(0)
                *self.lines, (_, took), _ = map(json.loads, results)
                self.took = dict(map(tuple, took))


def run(pytester, source, order, *args):
    pytester.makepyfile(source)
    loop = InProcess(order)
    pytester.inline_run("-p", "no:cacheprovider", *args, plugins=[loop])
    return loop.lines


def test_items_run_in_the_order_given_with_their_next_item(pytester):
    source = """
        import pytest
        @pytest.fixture(scope="module")
        def counted():
            print("set up")
            yield
            raise RuntimeError("torn down once")
        def test_a(counted): pass
        def test_b(counted): pass
        def test_c(counted): assert 0
    """
    # Whether the fixture took long enough to be told of is the machine's affair.
    lines = [line for line in run(pytester, source, [1, 2, 0]) if line[0] != "set_up"]
    assert [line[:2] for line in lines] == [
        ["start", 1],
        ["pass", 1],
        ["start", 2],
        ["test", 2],
        ["start", 0],
        ["test", 0],
    ]
    failed, torn = lines[3][3], lines[5][3]
    assert [report["outcome"] for report in failed] == ["passed", "failed", "passed"]
    assert "assert 0" in failed[1]["longrepr"]
    assert [report["outcome"] for report in torn] == ["passed", "passed", "failed"]


def test_what_pytest_says_of_skips_and_expected_failures(pytester):
    source = """
        import pytest
        def test_skip(): pytest.skip("not here")
        @pytest.mark.xfail(reason="known")
        def test_xfail(): assert 0
        @pytest.mark.xfail
        def test_xpass(): pass
    """
    lines = run(pytester, source, [0, 1, 2])
    skip, xfail, xpass = (line[3] for line in lines if line[0] == "test")
    assert skip[1]["longrepr"] == "Skipped: not here"
    assert (xfail[1]["outcome"], xfail[1]["wasxfail"]) == ("skipped", "known")
    assert (xpass[1]["outcome"], xpass[1]["wasxfail"]) == ("passed", "")


@pytest.mark.parametrize(
    ("statement", "said", "code"),
    [
        ("pytest.exit('enough', returncode=7)", "pytest.exit: enough", 7),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", None),
    ],
)
def test_an_interruption_names_itself(pytester, statement, said, code):
    source = f"import pytest\ndef test_a(): {statement}\ndef test_b(): pass\n"
    pytester.makepyfile(source)
    loop = InProcess([0, 1])
    pytester.inline_run("-p", "no:cacheprovider", plugins=[loop], no_reraise_ctrlc=True)
    assert [line[0] for line in loop.lines] == ["start", "interrupt"]
    assert loop.lines[1][4:] == [said, code]


def test_enough_failures_stop_the_session(pytester):
    lines = run(pytester, "def test_a(): assert 0\ndef test_b(): pass", [0, 1], "-x")
    assert [line[0] for line in lines] == ["start", "test", "stop"]
    assert lines[2][1:] == [True, "stopping after 1 failures"]


def test_a_broken_hook_is_an_internal_error(pytester):
    pytester.makeconftest("def pytest_runtest_logfinish(): raise ValueError('broken hook')")
    lines = run(pytester, "def test_a(): pass", [0])
    assert [line[0] for line in lines] == ["start", "internal_error"]
    assert "broken hook" in lines[1][2]


def test_passing_subtests_are_counted_and_failing_ones_kept(pytester):
    source = """
        import unittest
        class T(unittest.TestCase):
            def test_many(self):
                for i in range(5):
                    with self.subTest(i=i):
                        self.assertNotEqual(i, 3)
    """
    reports = run(pytester, source, [0])[1][3]
    failing = [report for report in reports if report.get("subtest")]
    if int(pytest.__version__.split(".")[0]) >= 9:
        assert [report["subtest"] for report in failing] == ["(i=3)"]
        assert reports[-1]["passing_subtests"] == 4
    assert any(report["outcome"] == "failed" for report in reports)


def test_the_board_says_what_is_done(pytester):
    source = """
        import pytest
        @pytest.fixture(autouse=True, scope="session")
        def reads(pytestconfig):
            global page
            page = pytestconfig.pluginmanager.get_plugin("rpt-board").page
        def note():
            length = int.from_bytes(page[2:4], "little")
            print("BOARD", page[0], page[1], page[4:4 + length].decode())
        @pytest.fixture(scope="module")
        def outer(inner):
            note(); yield; note()
        @pytest.fixture(scope="session")
        def inner():
            note(); yield; note()
        @pytest.fixture
        def failing(outer):
            yield; note(); assert 0
        def test_it(failing):
            note(); assert 0
    """
    lines = run(pytester, source, [0])
    said = [text for report in lines[-1][3] for _, text in report.get("sections", [])]
    noted = list(dict.fromkeys(line for text in said for line in text.splitlines() if line.startswith("BOARD")))
    assert noted == [
        "BOARD 1 0 session fixture 'inner'",
        "BOARD 1 0 module fixture 'outer'",
        "BOARD 2 0 ",
        "BOARD 3 2 function fixture 'failing'",
        "BOARD 3 2 module fixture 'outer'",
        "BOARD 3 2 session fixture 'inner'",
    ]


def test_what_shared_fixtures_took_is_said_of_the_test_that_set_them_up(pytester):
    source = """
        import pytest, time
        @pytest.fixture(scope="session")
        def base(): time.sleep(0.02)
        @pytest.fixture(scope="module")
        def data(request):
            time.sleep(0.01)
            request.getfixturevalue("base")
        @pytest.fixture
        def own(): time.sleep(0.01)
        def test_a(own, data): pass
        def test_b(own, data): pass
    """
    lines = run(pytester, source, [0, 1])
    assert [line[0] for line in lines] == ["start", "set_up", "pass", "start", "pass"]
    module, session = lines[1][1:]
    assert module >= 0.01
    assert session >= 0.02
    # What a fixture waited for another one is counted once, and `own` is not among them.
    assert lines[2][3] >= module + session + 0.01


def test_an_interruption_while_the_next_item_is_taken_is_that_of_the_one_that_began(pytester, monkeypatch):
    take = wire.Work.take
    taken = []

    def interrupted(work):
        taken.append(work)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return take(work)

    monkeypatch.setattr(wire.Work, "take", interrupted)
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    loop = InProcess([0, 1])
    pytester.inline_run("-p", "no:cacheprovider", plugins=[loop], no_reraise_ctrlc=True)
    said = [line[:2] for line in loop.lines]
    assert said == [["start", 0], ["pass", 0], ["start", 1], ["interrupt", 1]]
    assert loop.lines[-1][3:] == [[], "KeyboardInterrupt", None]
