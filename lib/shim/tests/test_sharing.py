"""Tests of who uses fixtures that are set up once for many files."""

from __future__ import annotations

import pytest

from rpt_shim import sharing

CONFTEST = """
    import pytest

    @pytest.fixture(scope="session")
    def server(): pass

    @pytest.fixture(scope="session", params=[1, 2])
    def database(request): pass

    @pytest.fixture
    def client(server): pass

    @pytest.fixture(scope="module")
    def page(): pass

    @pytest.fixture(scope="session")
    def behind(): pass

    @pytest.fixture(scope="session", autouse=True)
    def everywhere(behind): pass
"""


@pytest.fixture
def used(pytester):
    """By the fixture's name: whether it is exclusive, and the names of the tests."""

    def used_in(source, *exclusive, **more):
        pytester.makeconftest(CONFTEST)
        path = pytester.makepyfile(test_it=source, **more)
        items, record = pytester.inline_genitems(path.parent)
        assert record.ret == 0
        found = {}
        for name, is_exclusive, runs in sharing.used(items[0].session, exclusive)[0]:
            tests = [items[first + place].name for first, count in runs for place in range(count)]
            found.setdefault(name, []).append((is_exclusive, tests))
        return found

    return used_in


def test_through_other_fixtures_and_marks(used):
    assert used("""
        import pytest
        def test_a(server): pass
        def test_b(): pass
        def test_c(client): pass
        @pytest.mark.usefixtures("server")
        class TestD:
            def test_d(self, tmp_path_factory, page): pass
    """) == {"server": [(False, ["test_a", "test_c", "test_d"])]}


def test_all_parameters_are_one_fixture(used):
    assert used("def test_a(database): pass") == {"database": [(False, ["test_a[1]", "test_a[2]"])]}


def test_a_parameter_of_that_name_is_no_set_up(used):
    source = """
        import pytest
        @pytest.mark.parametrize("server", [1], scope="session")
        def test_a(server): pass
    """
    assert used(source) == used(source, "server") == {}


def test_what_every_test_has_is_not_told_unless_it_is_exclusive(used):
    assert used("def test_a(everywhere, behind): pass") == {}
    assert used("def test_a(): pass", "behind", "page") == {"behind": [(True, ["test_a"])]}


def test_of_one_file_an_autouse_fixture_asks(used):
    told = used(
        """
        import pytest
        @pytest.fixture(autouse=True)
        def always(server): pass
        def test_a(): pass
        """,
        test_other="def test_b(server): pass\ndef test_c(): pass",
    )
    assert told == {"server": [(False, ["test_a", "test_b"])]}


def test_an_overriding_fixture_that_asks_for_what_it_overrides(used):
    told = used(
        """
        import pytest
        @pytest.fixture(scope="session")
        def server(server): pass
        def test_a(server): pass
        """,
        test_other="import pytest\n@pytest.fixture\ndef server(): pass\ndef test_b(server): pass",
        test_third="def test_c(server): pass",
    )
    assert sorted(told["server"]) == [(False, ["test_a"]), (False, ["test_a", "test_c"])]


def test_an_exclusive_fixture_is_one_however_it_is_overridden(used):
    told = used(
        "def test_a(server): pass",
        "server",
        test_other="import pytest\n@pytest.fixture\ndef server(): pass\ndef test_b(server): pass",
    )
    assert told == {"server": [(True, ["test_a", "test_b"])]}


def test_what_is_installed_is_not_of_the_project(pytester, used):
    source = "import pytest\n@pytest.fixture(scope='session')\ndef {name}(): pass\n"
    for name, folder in (("far", pytester.mkdir("site-packages")), ("near", pytester.mkdir("own"))):
        (folder / f"plugin_{name}.py").write_text(source.format(name=name))
        pytester.syspathinsert(folder)
    # Session fixtures of pytest's own are not of the project, either.
    told = used(
        """
        pytest_plugins = ["plugin_far", "plugin_near"]
        def test_a(far, near, tmp_path_factory, pytestconfig): pass
        """
    )
    assert told == {"near": [(False, ["test_a"])]}


def test_a_name_that_no_fixture_has(pytester):
    pytester.makeconftest(CONFTEST)
    [item] = pytester.getitems("def test_a(): pass")
    assert sharing.used(item.session, ["servr", "server", "tmp_path", "a"]) == ([], ["a", "servr"])
