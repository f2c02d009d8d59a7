"""The light protocol says exactly what the full one says, of the project's own random
modules; `scripts/protocols` compares many more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from modules import Module
from said import said

from rpt_shim import light, versions

with_a_tested_pytest = pytest.mark.skipif(
    not versions.is_tested(),
    reason="every item takes the full protocol with this pytest",
)


def assert_same(pytester, *args):
    """The light protocol says what the full one says; how many items took which."""
    full, _ = said(pytester.path, "full", *args)
    other, took = said(pytester.path, "auto", *args)
    assert other == full
    return took


@with_a_tested_pytest
def test_random_modules():
    """A sample; `scripts/protocols` compares as many as wanted."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "protocols"
    done = subprocess.run([sys.executable, script, "--modules", "30"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout


@with_a_tested_pytest
def test_who_qualifies(pytester):
    pytester.makepyfile("""
        import pytest, unittest
        def test_plain(): pass
        class TestMethods:
            def test_method(self, tmp_path): pass
        @pytest.mark.slow
        def test_other_mark(): pass
        @pytest.mark.skip
        def test_skip(): pass
        @pytest.mark.filterwarnings("error")
        def test_warnings(): pass
        class Case(unittest.TestCase):
            def test_case(self): pass
    """)
    assert assert_same(pytester) == {
        None: 3,
        "mark skip": 1,
        "mark filterwarnings": 1,
        "TestCaseFunction is no plain function": 1,
    }


@with_a_tested_pytest
@pytest.mark.parametrize("hook", ["setup", "call", "teardown", "protocol"])
def test_a_hook_of_the_suite_makes_its_folder_full(pytester, hook):
    pytester.mkpydir("inner").joinpath("conftest.py").write_text(
        f"import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_{hook}(item): print('in the hook')\n"
    )
    pytester.path.joinpath("inner", "test_inner.py").write_text("def test_inner(): print(1)\n")
    pytester.makepyfile("def test_outer(): print(2)\n")
    took = assert_same(pytester)
    assert took[None] == 1
    assert took[f"pytest_runtest_{hook} of inner.conftest"] == 1


@with_a_tested_pytest
def test_who_listens_to_reports_gets_them(pytester):
    pytester.makeconftest("""
        import os, pytest
        heard = []
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(item, call):
            outcome = yield
            setattr(item, "rep_" + call.when, outcome.get_result())
        def pytest_runtest_logreport(report):
            heard.append((report.nodeid, report.when, report.outcome, report.sections, current()))
        def pytest_runtest_logstart(nodeid):
            heard.append((nodeid, current()))
        def current():
            return os.environ.get("PYTEST_CURRENT_TEST")
        @pytest.fixture
        def idiom(request):
            yield
            print("the call", request.node.rep_call.outcome)
        @pytest.fixture(scope="session", autouse=True)
        def tell():
            yield
            print(heard)
    """)
    pytester.makepyfile("""
        def test_good(idiom): print("out")
        def test_bad(idiom): assert 0
        def test_empty(): pass
        def test_empty_too(): pass
    """)
    assert assert_same(pytester) == {None: 4}


@with_a_tested_pytest
def test_a_set_up_of_an_item_s_own_is_looked_at(pytester):
    pytester.makeconftest("""
        import logging, warnings
        def pytest_collection_modifyitems(items):
            for item in items:
                item.setup = lambda: print("set up")
                item.teardown = lambda name=item.name: logging.warning("torn down") if name != "test_b" else 1 / 0
        def pytest_warning_recorded(warning_message):
            warning_message.filename = ""
    """)
    pytester.makepyfile("""
        import os, warnings
        def test_a(): pass
        def test_b(): pass
        def test_c(): warnings.warn("said"); print(os.environ["PYTEST_CURRENT_TEST"]); assert 0
        def test_d(): pass
    """)
    assert assert_same(pytester) == {None: 4}


@with_a_tested_pytest
@pytest.mark.parametrize("option", ["--tb=native", "--full-trace", "-s", "--setup-show", "--log-level=INFO"])
def test_options_that_make_all_full(pytester, option):
    pytester.makepyfile("def test_it(): assert 0")
    took = assert_same(pytester, option)
    assert None not in took


@with_a_tested_pytest
@pytest.mark.parametrize("args", [("--capture=sys",), ("--capture=fd",), ("-x",), ("-W", "error"), ("-rA",)])
def test_options_that_make_no_difference(pytester, args):
    pytester.makepyfile(test_random=Module(7).text(20))
    assert assert_same(pytester, *args)[None] > 0


@with_a_tested_pytest
@pytest.mark.parametrize("statement", ["pytest.exit('enough', returncode=7)", "raise KeyboardInterrupt"])
@pytest.mark.parametrize("place", ["fixture", "test", "finalizer"])
def test_interruptions(pytester, statement, place):
    do = {name: statement if name == place else "pass" for name in ("fixture", "test", "finalizer")}
    pytester.makepyfile(f"""
        import pytest
        @pytest.fixture
        def fixture():
            print("printed"); {do["fixture"]}
            yield
            {do["finalizer"]}
        def test_before(): pass
        def test_it(fixture): {do["test"]}
        def test_after(): pass
    """)
    assert_same(pytester)


@with_a_tested_pytest
def test_a_descriptor_that_a_test_moves_is_put_back(pytester):
    pytester.makepyfile("""
        import os, pytest
        @pytest.fixture
        def moved(tmp_path):
            saved = os.dup(1)
            file = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
            os.dup2(file, 1)
            yield
            os.dup2(saved, 1)
        def test_moved(moved):
            os.write(1, b"captured all the same\\n"); assert 0
        def test_closes(): os.close(2)
        def test_after():
            os.write(2, b"captured again\\n"); assert 0
    """)
    assert assert_same(pytester) == {None: 3}


def test_an_untested_pytest_takes_the_full_protocol(pytestconfig, monkeypatch):
    monkeypatch.setattr(versions, "TESTED", ((1, 0),))
    refusal = light.refusal_of_session(pytestconfig, untested=False)
    assert refusal == f"pytest {pytest.__version__} is not among the tested versions"
