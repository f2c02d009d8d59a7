"""Thousands of subtests in one file of unittest, as in more-itertools' suite."""

import os
import unittest

SCALE = int(os.environ.get("RPT_SUITE_SCALE", "1"))


class Many(unittest.TestCase):
    def test_all_pass(self):
        for number in range(1_500 * SCALE):
            with self.subTest(number=number):
                self.assertGreaterEqual(number, 0)

    def test_some_fail(self):
        for number in range(500 * SCALE):
            with self.subTest(number=number):
                self.assertNotEqual(number % 100, 99)
