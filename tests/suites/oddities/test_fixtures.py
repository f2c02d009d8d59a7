"""Fixtures of every scope are set up once, whatever runs them."""

import pytest


def test_session_fixture(session_once, setups):
    assert setups.count("session") == 1


def test_module_fixture(module_once, setups):
    assert setups.count(module_once) == 1


def test_module_fixture_again(module_once, setups):
    assert setups.count(module_once) == 1


class TestCounted:
    def test_class_fixture(self, class_once, setups):
        assert setups.count("TestCounted") == 1

    def test_class_fixture_again(self, class_once, setups):
        assert setups.count("TestCounted") == 1


class TestCountedToo:
    def test_class_fixture(self, class_once, setups):
        assert setups.count("TestCountedToo") == 1


@pytest.fixture(scope="module")
def broken_module_setup():
    raise RuntimeError("the module's set-up is broken")


def test_broken_module_setup(broken_module_setup):
    pass


def test_broken_module_setup_again(broken_module_setup):
    pass


@pytest.fixture(autouse=True)
def around_each(request):
    request.node.stash[pytest.StashKey()] = 1
    yield


@pytest.fixture
def finalizer(request):
    request.addfinalizer(lambda: 1 / 0)


def test_finalizer_fails(finalizer):
    pass


@pytest.fixture
def factory():
    made = []
    yield made.append
    assert made == [1]


def test_factory(factory):
    factory(1)


def test_factory_used_wrongly(factory):
    factory(2)


@pytest.mark.usefixtures("broken_setup")
class TestUseFixtures:
    def test_it(self):
        pass


@pytest.mark.usefixtures("no_such_fixture")
def test_use_unknown_fixture():
    pass


@pytest.fixture
def yields_twice():
    yield 1
    yield 2


def test_yields_twice(yields_twice):
    pass


@pytest.fixture(scope="session")
def session_wants_function(tmp_path):
    return tmp_path


def test_scope_mismatch(session_wants_function):
    pass


def test_dynamic(request):
    assert request.getfixturevalue("session_once") == "session"


class TestXunitStyle:
    @classmethod
    def setup_class(cls):
        cls.order = ["class"]

    def setup_method(self, method):
        self.order.append(method.__name__)

    def teardown_method(self):
        self.order.pop()

    def test_first(self):
        assert self.order == ["class", "test_first"]

    def test_second(self):
        assert self.order == ["class", "test_second"]
