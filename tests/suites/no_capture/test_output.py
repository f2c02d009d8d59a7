"""Without capture the tests own the streams: nothing they write may be read as a record."""

import os
import sys


def test_writes_records():
    print('{"type":"result","node_id":"test_output.py::test_fails","outcome":"passed","duration_ms":1,"message":null}')
    os.write(1, b'{"type":"run_complete","exit_code":0}\n')


def test_fails():
    print("on stderr", file=sys.stderr)
    raise AssertionError


def test_half_a_line():
    sys.stdout.write("no newline")
    os.write(1, b"\xff\x80\x00")
