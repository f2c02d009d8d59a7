"""KeyboardInterrupt in a test ends the run as Ctrl-C does."""


def test_before():
    pass


def test_interrupt():
    raise KeyboardInterrupt


def test_after():
    raise AssertionError("never reached")
