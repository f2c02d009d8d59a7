"""setUpModule that fails: each test of the module is in error."""

import unittest


def setUpModule():
    raise RuntimeError("setUpModule")


class Any(unittest.TestCase):
    def test_one(self):
        pass

    def test_two(self):
        pass
