"""What is kept of rewritten modules is what pytest's rewriting makes."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from _pytest.assertion import rewrite

from rpt_shim import rewritten, versions

pytestmark = pytest.mark.skipif(not versions.is_tested(), reason="pytest's own code is asked everywhere")

SOURCE = "def test_it():\n    assert [1] == [2], 'message'\n"


class Counted:
    """pytest's rewriting, counted."""

    def __init__(self):
        self.calls = 0

    def __call__(self, fn, config):
        self.calls += 1
        return rewrite._rewrite_test(fn, config)


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def kept(tmp_path, counted):
    return rewritten.Kept(str(tmp_path), counted, None)


def same(made, other):
    return made == other and made[1].co_filename == other[1].co_filename


def files(kept):
    return [pathlib.Path(kept.folder, name) for name in os.listdir(kept.folder)]


def test_a_module_is_rewritten_once(kept, counted, module, pytestconfig):
    plain = rewrite._rewrite_test(module, pytestconfig)
    for _ in range(3):
        assert same(kept.rewrite_test(module, pytestconfig), plain)
    assert counted.calls == 1
    assert (module.parent / ".rpt" / ".gitignore").read_text() == "*\n"


def test_a_module_elsewhere_is_not_kept(kept, counted, module, pytestconfig, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "test_it.py"
    elsewhere.write_text(SOURCE)
    for _ in range(2):
        assert same(kept.rewrite_test(elsewhere, pytestconfig), rewrite._rewrite_test(elsewhere, pytestconfig))
    assert counted.calls == 2
    assert not os.path.exists(kept.folder)


def test_its_content_counts_and_nothing_else_of_it(kept, counted, module, pytestconfig):
    kept.rewrite_test(module, pytestconfig)
    os.utime(module, (1, 1))
    kept.rewrite_test(module, pytestconfig)
    assert counted.calls == 1
    module.write_text(SOURCE.replace("[2]", "[3]"))
    assert same(kept.rewrite_test(module, pytestconfig), rewrite._rewrite_test(module, pytestconfig))
    assert counted.calls == 2


def test_the_name_and_the_options_count(kept, counted, module, pytestconfig, monkeypatch):
    kept.rewrite_test(module, pytestconfig)
    other = module.with_name("test_other.py")
    other.write_text(SOURCE)
    assert kept.rewrite_test(other, pytestconfig)[1].co_filename == str(other)
    monkeypatch.setitem(pytestconfig._inicache, "enable_assertion_pass_hook", True)
    assert same(kept.rewrite_test(module, pytestconfig), rewrite._rewrite_test(module, pytestconfig))
    assert counted.calls == 3


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 500], ids=len)
def test_a_damaged_file_is_rewritten(kept, counted, module, pytestconfig, damage):
    plain = kept.rewrite_test(module, pytestconfig)
    (file,) = files(kept)
    file.write_bytes(damage)
    assert same(kept.rewrite_test(module, pytestconfig), plain)
    assert same(kept.rewrite_test(module, pytestconfig), plain)
    assert counted.calls == 2


def test_a_file_that_others_may_write_is_not_used(kept, counted, module, pytestconfig):
    kept.rewrite_test(module, pytestconfig)
    (file,) = files(kept)
    file.chmod(0o622)
    kept.rewrite_test(module, pytestconfig)
    assert counted.calls == 2


def test_warnings_are_said_each_time(kept, module, pytestconfig):
    module.write_text("def test_it():\n    assert (1, 'always true')\n")
    for _ in range(2):
        with pytest.warns(pytest.PytestAssertRewriteWarning):
            kept.rewrite_test(module, pytestconfig)


def test_an_error_is_pytests(kept, module, pytestconfig):
    module.write_text("def test_it(:\n")
    for _ in range(2):
        with pytest.raises(SyntaxError):
            kept.rewrite_test(module, pytestconfig)


def test_a_folder_that_cannot_be_made(kept, counted, module, pytestconfig):
    (module.parent / ".rpt").write_text("")
    for _ in range(2):
        kept.rewrite_test(module, pytestconfig)
    assert counted.calls == 2


def test_what_nobody_used_for_long_is_removed(kept, module, pytestconfig):
    kept.rewrite_test(module, pytestconfig)
    (file,) = files(kept)
    long_ago = time.time() - rewritten.MAX_AGE_SECONDS - 1
    os.utime(file, (long_ago, long_ago))
    kept.rewrite_test(module, pytestconfig)
    assert time.time() - file.stat().st_mtime < rewritten.PRECISION_SECONDS
    os.utime(file, (long_ago, long_ago))
    # One of 256 files that are written looks.
    for number in range(5000):
        module.write_text(f"{SOURCE}# {number}\n")
        if rewritten._key(module, module.read_bytes(), pytestconfig).startswith("00"):
            kept.rewrite_test(module, pytestconfig)
            break
    assert file not in files(kept)
    assert len(files(kept)) == 1
