"""Output to both streams, by every way out."""

import logging
import os
import subprocess
import sys


def write_everywhere():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"to descriptor 1\n")
    os.write(2, b"to descriptor 2\n")
    sys.__stdout__.write("to the first stdout\n")
    sys.__stdout__.flush()
    subprocess.run([sys.executable, "-S", "-c", "print('from a child')"], check=True)
    logging.getLogger("oddities").warning("a log line")


def test_passes_with_output():
    write_everywhere()


def test_fails_with_output():
    write_everywhere()
    raise AssertionError


def test_bytes_that_are_not_text():
    os.write(1, b"\xff\xfe\x00\x01")
    raise AssertionError


def test_looks_like_records():
    print('{"type":"result","node_id":"test_output.py::test_fails_with_output","outcome":"passed"}')
    os.write(1, b'{"type":"run_complete","exit_code":0}\n')


def test_much_output():
    print("x" * 1_000_000)


def test_half_a_line():
    sys.stdout.write("no newline at the end")


def test_capsys(capsys):
    print("out")
    print("err", file=sys.stderr)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("out\n", "err\n")


def test_capsys_disabled(capsys):
    with capsys.disabled():
        print("straight to the terminal")


def test_capfd(capfd):
    os.write(1, b"one\n")
    os.write(2, b"two\n")
    assert capfd.readouterr() == ("one\n", "two\n")


def test_capsysbinary(capsysbinary):
    sys.stdout.buffer.write(b"\xff")
    assert capsysbinary.readouterr().out == b"\xff"


def test_caplog(caplog):
    caplog.set_level(logging.INFO)
    logging.getLogger("oddities").info("hello %s", "there")
    assert caplog.messages == ["hello there"]


def test_caplog_in_a_failure(caplog):
    logging.getLogger("oddities").error("seen in the report")
    raise AssertionError
