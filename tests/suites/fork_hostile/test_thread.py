"""A thread that is started by an import does not live in a fork."""

import queue
import threading

QUESTIONS, ANSWERS = queue.Queue(), queue.Queue()


def answer():
    while True:
        ANSWERS.put(QUESTIONS.get() * 2)


threading.Thread(target=answer, daemon=True).start()


def test_thread_answers():
    QUESTIONS.put(21)
    assert ANSWERS.get(timeout=2) == 42
