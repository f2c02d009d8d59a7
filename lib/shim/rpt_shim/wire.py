"""Owns the bytes between the shim and rpt: frames on the control socket, lines
on a worker's pipe. Knows nothing of pytest.

Control socket, both ways: a u32 little-endian length, then one JSON object.
File descriptors travel with the first byte of the frame they belong to.
Result pipe, worker to dispatcher: one JSON array a line, its first element
naming the message.
"""

from __future__ import annotations

import array
import base64
import json
import marshal
import os
import select
import socket
import time
from collections.abc import Sequence

#: No message carries more descriptors than this (work, result, output, lifeline, board).
MAX_FDS = 5

#: Longer texts are cut: a record must stay below what a reader accepts (64 MiB).
MAX_TEXT = 8 << 20


def text(value: object) -> str:
    """`value` as text that UTF-8 can carry: lone surrogates, which node ids made
    from undecodable file names hold, become escapes."""
    result = value if type(value) is str else str(value)
    if not result.isascii():
        try:
            result.encode("utf-8")
        except UnicodeEncodeError:
            result = result.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(result) > MAX_TEXT:
        cut = len(result) - MAX_TEXT
        result = f"{result[:MAX_TEXT]}\n[... {cut} more characters left out by rpt]"
    return result


def packed(values: dict) -> str:
    """What of `values` is made of Python's plain types, bytes and tuples included, as text."""
    held = {}
    for name, value in values.items():
        try:
            marshal.dumps(value)
        except ValueError:
            continue
        held[name] = value
    return base64.b64encode(marshal.dumps(held)).decode("ascii")


def unpacked(text: str) -> dict:
    """What was `packed` by a process of the same interpreter."""
    return marshal.loads(base64.b64decode(text))


def encode(message: object) -> bytes:
    # Every text in a message went through `text`, so that UTF-8 can carry it.
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def line(*message: object) -> bytes:
    """A message of the result pipe."""
    return encode(message) + b"\n"


class Control:
    """One control connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: dict, fds: Sequence[int] = ()) -> None:
        payload = encode(message)
        if not fds:
            self.send_encoded(payload)
            return
        # Descriptors travel with the first bytes.
        frame = len(payload).to_bytes(4, "little") + payload
        sent = socket.send_fds(self.socket, [frame], list(fds))
        if sent < len(frame):
            self.socket.sendall(frame[sent:])

    def send_encoded(self, payload: bytes) -> None:
        self.socket.sendall(len(payload).to_bytes(4, "little") + payload)

    def receive(self) -> tuple[dict, list[int]] | None:
        """The next request and its descriptors; None when the client is gone."""
        fds: list[int] = []
        header = self._receive_exactly(4, fds)
        if header is None:
            return None
        payload = self._receive_exactly(int.from_bytes(header, "little"), fds)
        if payload is None:
            return None
        return json.loads(payload), fds

    def _receive_exactly(self, count: int, fds: list[int]) -> bytes | None:
        parts = []
        space = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
        while count:
            try:
                part, ancillary, _, _ = self.socket.recvmsg(count, space)
            except ConnectionResetError:
                return None
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    found = array.array("i")
                    found.frombytes(data[: len(data) - len(data) % found.itemsize])
                    fds.extend(found)
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        for fd in fds:
            os.set_inheritable(fd, False)
        return b"".join(parts)

    def close(self) -> None:
        self.socket.close()


def pair() -> tuple[Control, Control]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    return Control(ours), Control(theirs)


class Results:
    """A worker's result pipe. Each call is one write, so that whatever was said
    before a crash stays readable after it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.owner = os.getpid()

    def send(self, *message: object) -> None:
        self.send_bytes(line(*message))

    def send_bytes(self, data: bytes) -> None:
        if os.getpid() != self.owner:
            # A child that a test forked and that came back from the test: it has
            # nothing to say here.
            os._exit(1)
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]


#: What the dispatcher writes where no next item is known for now.
NO_NEXT = 0xFFFFFFFF


class Work:
    """A worker's queue: item numbers as u32 in a pipe whose read end the
    dispatcher holds too, so that it can take back what no worker has claimed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        #: How long it waited for something to do, in seconds.
        self.waited = 0.0
        self.readable = select.poll()
        self.readable.register(fd, select.POLLIN)

    def take(self) -> int | None:
        """Claims the next item's number, waiting for it. None: none for now, or,
        when `ended`, none ever."""
        data = self._read(4)
        while data and len(data) < 4:
            data += self._read(4 - len(data))
        if not data:
            self.ended = True
            return None
        number = int.from_bytes(data, "little")
        return None if number == NO_NEXT else number

    def _read(self, count: int) -> bytes:
        """Reading never waits, as the dispatcher may take what is there: waiting does."""
        while True:
            try:
                return os.read(self.fd, count)
            except BlockingIOError:
                began = time.perf_counter()
                self.readable.poll()
                self.waited += time.perf_counter() - began
