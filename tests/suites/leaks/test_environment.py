"""What one test leaves behind, the next one sees: in one worker, as in pytest."""

import os

SEEN = []


def test_sets():
    os.environ["LEFT"] = "1"
    SEEN.append(1)
    os.umask(0o077)


def test_sees():
    assert os.environ["LEFT"] == "1"
    assert SEEN == [1]
    assert os.umask(0o022) == 0o077


def test_takes_path_away():
    del os.environ["PATH"]


def test_has_no_path():
    assert "PATH" not in os.environ
