"""setup_module that fails: each test of the module is in error."""


def setup_module():
    raise RuntimeError("setup_module")


def test_one():
    pass


class TestInside:
    def test_two(self):
        pass
