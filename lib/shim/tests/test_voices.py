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
    listener.before_is_silent = True
    gc.collect()
    gc.freeze()
    gc.unfreeze()
    listener.collections = voices._older_collections()
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


@pytest.mark.parametrize("make", [Loud, begun, never_awaited, watched, socket.socket, opened])
def test_a_voice_is_found(listener, make):
    assert listener.nobody_has_one()
    made = [make()]
    assert not listener.nobody_has_one()
    if hasattr(made[0], "close"):
        made[0].close()
    if make is Loud:
        # Nobody is to hear of it here.
        made[0].__class__ = Plain


def forgetful():
    thing = Plain()
    return thing, weakref.WeakSet([thing]), weakref.WeakKeyDictionary({thing: 1})


def ended():
    generator = suspended()
    list(generator)
    return generator


@pytest.mark.parametrize("make", [Plain, forgetful, ended, io.BytesIO, lambda: (each for each in [1])])
def test_silence_is_found(listener, make):
    made = [make()]
    assert listener.nobody_has_one(), made


def test_what_the_collector_moved_is_not_taken_for_silent(listener):
    assert listener.nobody_has_one()
    gc.collect(1)
    assert not listener.nobody_has_one()


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
