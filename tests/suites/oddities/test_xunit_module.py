"""teardown_module that fails."""


def setup_module():
    global READY
    READY = True


def teardown_module():
    raise RuntimeError("teardown_module")


def test_it():
    assert READY
