"""Tests that look at, and change, what surrounds them."""

import os
import pathlib
import random
import signal
import sys
import threading
import warnings

import pytest

HERE = pathlib.Path(__file__).parent


def test_cwd_is_where_pytest_was_started(request):
    assert pathlib.Path.cwd() == request.config.invocation_params.dir


def test_monkeypatch_chdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pathlib.Path.cwd() == tmp_path.resolve()


def test_monkeypatch_env(monkeypatch):
    monkeypatch.setenv("ODDITIES", "1")
    assert os.environ["ODDITIES"] == "1"


def test_env_was_restored():
    assert "ODDITIES" not in os.environ


def test_current_test():
    assert os.environ["PYTEST_CURRENT_TEST"] == "test_surroundings.py::test_current_test (call)"


def test_stdin_cannot_be_read():
    with pytest.raises(OSError, match="reading from stdin"):
        input()


def test_stdin_descriptor_is_empty():
    assert os.read(0, 10) == b""


def test_stdin_replaced(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    assert input() == "typed"


def test_tmp_path(tmp_path, request):
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.name.startswith("test_tmp_path")
    (tmp_path / "file").write_text("text")


def test_tmp_path_factory(tmp_path_factory):
    assert tmp_path_factory.mktemp("made").is_dir()


def test_tmpdir(tmpdir):
    tmpdir.join("file").write("text")


def test_cache(cache):
    assert cache.get("oddities/none", 7) == 7


def test_recwarn(recwarn):
    warnings.warn("careful", UserWarning, stacklevel=1)
    assert len(recwarn) == 1


def test_warns():
    with pytest.warns(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_does_not_warn():
    with pytest.warns(UserWarning):
        pass


def test_a_warning_passes():
    warnings.warn("only a warning", UserWarning, stacklevel=1)


@pytest.mark.filterwarnings("error")
def test_a_warning_as_an_error():
    warnings.warn("now an error", UserWarning, stacklevel=1)


@pytest.mark.filterwarnings("error:only this:UserWarning")
def test_another_warning_passes():
    warnings.warn("not this", UserWarning, stacklevel=1)


def test_unraisable():
    class Leaves:
        def __del__(self):
            raise RuntimeError("in a destructor")

    Leaves()


def test_thread_that_raises():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


def test_daemon_thread_stays():
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def test_signal_handlers_can_be_set():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, before)
    assert threading.current_thread() is threading.main_thread()


def test_alarm():
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while not heard:
            pass
    finally:
        signal.signal(signal.SIGALRM, before)


def test_child_process():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_multiprocessing():
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_asyncio():
    import asyncio

    async def answer():
        await asyncio.sleep(0)
        return 42

    assert asyncio.run(answer()) == 42


def test_seeded():
    random.seed(1)
    assert random.random() == 0.13436424411240122


def test_recursion_limit_is_python_s_own():
    assert sys.getrecursionlimit() == 1000


def test_main_module_is_not_ours():
    assert not hasattr(sys.modules["__main__"], "test_main_module_is_not_ours")


def test_request_node(request):
    assert request.node.nodeid == "test_surroundings.py::test_request_node"
    assert request.config.getini("python_files") == ["test_*.py", "*_check.py"]


def test_pytestconfig_paths(pytestconfig):
    assert pytestconfig.rootpath == HERE
    assert pytestconfig.inipath == HERE / "pytest.ini"


def test_record_property(record_property):
    record_property("key", "value")


def test_argv_is_a_list():
    assert isinstance(sys.argv, list)
