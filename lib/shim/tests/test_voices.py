"""Tests of what could be heard of a collection of garbage."""

from __future__ import annotations

import asyncio
import gc
import io
import socket
import weakref

import pytest

from rpt_shim import voices
from rpt_shim.voices import Voices

pytestmark = pytest.mark.skipif(not voices.HAS_GENERATIONS, reason="nothing tells what is new")


class Loud:
    def __del__(self):
        raise ValueError("heard")


class Empty:
    __slots__ = ()


def suspended():
    try:
        yield
    finally:
        print("heard")


async def never_awaited():
    pass


@pytest.fixture
def listener(request):
    """Of a heap that is silent as far as the test is concerned."""
    listener = Voices(request.config)
    gc.collect()
    listener._begin(True)
    yield listener


def begun():
    generator = suspended()
    next(generator)
    return generator


def watched():
    thing = Plain()
    return thing, weakref.ref(thing, lambda _: print("heard"))


class Plain:
    pass


def opened():
    return open(__file__, "rb")


class Method:
    def heard(self):
        pass


def watched_method():
    thing = Method()
    return thing, weakref.WeakMethod(thing.heard, lambda _: print("heard"))


class Fake:
    closed = False

    def readable(self):
        return False

    def writable(self):
        return True

    seekable = readable

    def flush(self):
        print("heard")

    close = write = flush


def around_somebodys():
    return io.TextIOWrapper(io.BufferedWriter(Fake()))


class Incomparable(type):
    __hash__ = None


def of_a_class_that_cannot_be_compared():
    return Incomparable("Odd", (), {})()


@pytest.mark.parametrize(
    "make",
    [
        Loud,
        begun,
        never_awaited,
        watched,
        watched_method,
        around_somebodys,
        of_a_class_that_cannot_be_compared,
        socket.socket,
        opened,
    ],
)
def test_a_voice_is_found(listener, make):
    assert listener.nobody_has_one()
    made = [make()]
    assert not listener.nobody_has_one()
    if hasattr(made[0], "close"):
        made[0].close()
    if make is Loud:
        # Nobody is to hear of it here.
        made[0].__class__ = Plain


def test_a_socket_with_the_number_of_an_own_one_is_found(listener):
    with socket.socket() as made:
        listener.own_sockets = frozenset((made.fileno(),))
        assert listener.nobody_has_one()
        listener.own_nothing()
        assert not listener.nobody_has_one()


def forgetful():
    thing = Plain()
    return thing, weakref.WeakSet([thing]), weakref.WeakKeyDictionary({thing: 1})


def ended():
    generator = suspended()
    list(generator)
    return generator


def text_in_memory():
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO()))


def parted():
    stream = text_in_memory()
    stream.detach()
    return stream


@pytest.mark.parametrize(
    "make", [Plain, forgetful, ended, io.BytesIO, text_in_memory, parted, lambda: (each for each in [1])]
)
def test_silence_is_found(listener, make):
    made = [make()]
    assert listener.nobody_has_one(), made


def test_what_the_collector_moved_is_not_taken_for_silent(listener):
    assert listener.nobody_has_one()
    gc.collect(1)
    assert not listener.nobody_has_one()


def test_what_somebody_else_moved_is_not_taken_for_silent(listener):
    gc.freeze()
    gc.unfreeze()
    assert not listener.nobody_has_one()
    listener.takes_in_new()
    listener.before_is_silent = True
    assert listener.nobody_has_one()


def test_a_look_leaves_no_garbage(listener):
    gc.collect()
    listener.nobody_has_one()
    listener.takes_in_new()
    assert gc.collect() == 0


def test_the_collector_knows_instances_of_every_class_of_pythons():
    assert gc.is_tracked(Empty())


def test_a_loop_is_heard(listener):
    loop = asyncio.new_event_loop()
    try:
        assert not listener.nobody_has_one()
    finally:
        loop.close()


def test_a_voice_that_was_there_before_is_found(request):
    made = begun()
    assert not Voices(request.config).before_is_silent
    made.close()
