"""Tests of the bytes between the shim and rpt."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from rpt_shim import wire


def test_text_is_always_utf8():
    assert wire.text("tést") == "tést"
    assert wire.text("a\udc80b") == "a\\udc80b"
    assert wire.text(7) == "7"


def test_a_huge_text_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(wire, "MAX_TEXT", 10)
    cut = wire.text("x" * 25)
    assert cut.startswith("x" * 10 + "\n")
    assert "15 more characters" in cut


def test_a_frame_carries_descriptors():
    ours, theirs = socket.socketpair()
    control = wire.Control(theirs)
    read_end, write_end = os.pipe()
    body = json.dumps({"op": "fork"}).encode()
    frame = len(body).to_bytes(4, "little") + body
    socket.send_fds(ours, [frame[:3]], [write_end])
    ours.sendall(frame[3:])
    request, fds = control.receive()
    assert request == {"op": "fork"}
    os.write(fds[0], b"x")
    assert os.read(read_end, 1) == b"x"
    assert not os.get_inheritable(fds[0])
    ours.close()
    assert control.receive() is None
    for fd in (read_end, write_end, *fds):
        os.close(fd)
    control.close()


@pytest.mark.parametrize("cut", [0, 2, 4, 6])
def test_a_frame_that_is_cut_off_is_the_end(cut):
    ours, theirs = socket.socketpair()
    control = wire.Control(theirs)
    body = b'{"op":"x"}'
    ours.sendall((len(body).to_bytes(4, "little") + body)[:cut])
    ours.close()
    assert control.receive() is None
    control.close()


def test_work_is_claimed_one_by_one_and_ends():
    read_end, write_end = os.pipe()
    work = wire.Work(read_end)
    os.write(write_end, b"".join(number.to_bytes(4, "little") for number in (5, wire.NO_NEXT, 70000)))
    assert [work.take(), work.take(), work.take()] == [5, None, 70000]
    assert not work.ended
    os.close(write_end)
    assert work.take() is None
    assert work.ended
    os.close(read_end)


def test_a_claim_waits_although_reading_does_not():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    writer = threading.Timer(0.05, os.write, (write_end, (7).to_bytes(4, "little")))
    writer.start()
    assert wire.Work(read_end).take() == 7
    writer.join()
    os.close(read_end)
    os.close(write_end)


def test_results_are_lines():
    read_end, write_end = os.pipe()
    wire.Results(write_end).send("test", 3, "line\nbreak ü")
    os.close(write_end)
    with os.fdopen(read_end, "rb") as lines:
        assert [json.loads(line) for line in lines] == [["test", 3, "line\nbreak ü"]]


def test_what_a_worker_leaves_is_packed_as_far_as_it_is_plain():
    left = {"bytes": b"\0\xff", "pair": (1, None), "odd": object(), "text": "é"}
    assert wire.unpacked(wire.packed(left)) == {"bytes": b"\0\xff", "pair": (1, None), "text": "é"}
