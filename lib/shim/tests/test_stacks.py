"""Tests of the answer to the signal that asks for stacks."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from rpt_shim import stacks


@pytest.fixture
def asked():
    """Asks this process and returns what it says, up to the end."""
    reading, writing = os.pipe()
    before = signal.getsignal(signal.SIGUSR2)
    stacks.answer(signal.SIGUSR2, writing)
    os.close(writing)

    def ask():
        os.kill(os.getpid(), signal.SIGUSR2)
        said = b""
        while not said.endswith(stacks.END):
            said += os.read(reading, 65536)
        return said.decode()

    yield ask
    stacks.faulthandler.unregister(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, before)
    os.close(reading)


def test_the_stack_of_a_thread(asked):
    said = asked()
    assert "test_the_stack_of_a_thread" in said
    assert "Task" not in said


def test_the_coroutines_of_tasks(asked):
    async def waits():
        await asyncio.sleep(600)

    async def outer():
        await waits()

    async def main():
        task = asyncio.create_task(outer(), name="a task")
        await asyncio.sleep(0)
        said = asked()
        task.cancel()
        return said

    said = asyncio.run(main())
    named = said[said.index("Task 'a task'") :]
    assert named.index("in outer") < named.index("in waits") < named.index("in sleep")
