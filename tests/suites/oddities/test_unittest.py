"""unittest's classes."""

import unittest


class Plain(unittest.TestCase):
    def setUp(self):
        self.value = 1
        self.addCleanup(self.clean)

    def clean(self):
        self.value = 0

    def test_passes(self):
        self.assertEqual(self.value, 1)

    def test_fails(self):
        self.assertEqual(self.value, 2)

    def test_errors(self):
        raise RuntimeError("an error")

    @unittest.skip("unittest's mark")
    def test_skipped(self):
        self.fail()

    @unittest.skipIf(True, "conditionally")
    def test_skipped_if(self):
        self.fail()

    def test_skips_itself(self):
        self.skipTest("from inside")

    @unittest.expectedFailure
    def test_expected_failure(self):
        self.fail("as expected")

    @unittest.expectedFailure
    def test_unexpected_success(self):
        pass


class SubTests(unittest.TestCase):
    def test_all_pass(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertLess(number, 3)

    def test_one_fails(self):
        for number in range(3):
            with self.subTest("with a message", number=number):
                self.assertNotEqual(number, 1)

    def test_two_fail_and_one_skips(self):
        for number in range(4):
            with self.subTest(number=number):
                if number == 0:
                    self.skipTest("zero")
                self.assertGreater(number, 2)

    def test_fails_after_a_failed_one(self):
        with self.subTest("first"):
            self.fail("inside")
        self.fail("outside")

    @unittest.expectedFailure
    def test_expected_to_fail(self):
        with self.subTest("one"):
            self.fail("as expected")


class SetUpFails(unittest.TestCase):
    def setUp(self):
        raise RuntimeError("setUp")

    def test_it(self):
        pass


class TearDownFails(unittest.TestCase):
    def tearDown(self):
        raise RuntimeError("tearDown")

    def test_passes(self):
        pass

    def test_fails(self):
        self.fail()


class CleanupFails(unittest.TestCase):
    def test_it(self):
        self.addCleanup(lambda: 1 / 0)


class SetUpClassFails(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("setUpClass")

    def test_one(self):
        pass

    def test_two(self):
        pass


class SetUpClassSkips(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("the class")

    def test_it(self):
        self.fail()


class TearDownClassFails(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        raise RuntimeError("tearDownClass")

    def test_it(self):
        pass


@unittest.skip("the whole class")
class Skipped(unittest.TestCase):
    def test_it(self):
        self.fail()


class Counted(unittest.TestCase):
    count = 0

    @classmethod
    def setUpClass(cls):
        cls.count += 1

    def test_one(self):
        self.assertEqual(self.count, 1)

    def test_two(self):
        self.assertEqual(self.count, 1)


class Inherited(Plain):
    """Runs the tests of its base again, under its own name."""


class Coroutines(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.value = 1

    async def test_passes(self):
        self.assertEqual(self.value, 1)

    async def test_fails(self):
        self.fail()


class WithoutTests(unittest.TestCase):
    pass


def load_tests(loader, tests, pattern):
    raise AssertionError("pytest does not call this")
