"""Ids that break what parses them."""

import pytest


class Thing:
    pass


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "with spaces",
        "a::b",
        "[brackets]",
        "unclosed[",
        "closed]",
        "new\nline",
        "tab\t",
        "nul\0",
        "\x1b[31mred",
        "ünïcode",
        "测试",
        "🐍",
        "back\\slash",
        "sl/ash",
        "../up",
        'quo"te',
        "apo'strophe",
        "-k",
        "--help",
        "@file",
        "test_parametrized.py::test_values[x]",
        "a" * 300,
        b"bytes\xff",
        None,
        True,
        1,
        -1.5,
        1e300,
        1j,
        Thing,
        len,
        object(),
        {"a": 1},
        ["list"],
    ],
)
def test_values(value):
    assert value != 1


@pytest.mark.parametrize("value", ["same", "same", "same"])
def test_duplicates(value):
    pass


@pytest.mark.parametrize("value", ["a", "a", "a0", "a1"])
def test_duplicates_that_meet_their_suffix(value):
    pass


@pytest.mark.parametrize("value", [1, 2], ids=["", "x::y[z]"])
def test_given_ids(value):
    pass


@pytest.mark.parametrize("value", [1, 2], ids=["same", "same"])
def test_given_ids_twice(value):
    pass


@pytest.mark.parametrize("value", [1, 2, 3], ids=lambda value: f"<{value} of 3>" if value > 1 else None)
def test_ids_by_function(value):
    assert value < 3


@pytest.mark.parametrize("x", [1, 2])
@pytest.mark.parametrize("y", ["a-b", "c"])
def test_product(x, y):
    assert (x, y) != (2, "c")


@pytest.fixture(params=["one", pytest.param("two", id="zwei"), 3.5])
def parametrized(request):
    return request.param


def test_fixture_parameters(parametrized):
    assert parametrized != 3.5


@pytest.mark.parametrize("parametrized", ["over::ridden"], indirect=True)
def test_indirect(parametrized):
    assert parametrized == "over::ridden"


class TestMethods:
    @pytest.mark.parametrize("value", ["a b", "c::d"])
    def test_method(self, value):
        pass

    class TestNested:
        class TestDeeper:
            @pytest.mark.parametrize("value", ["[x]"])
            def test_deep(self, value):
                pass


def pytest_generate_tests(metafunc):
    if "generated" in metafunc.fixturenames:
        metafunc.parametrize("generated", range(5))


def test_generated(generated):
    assert generated != 3


def test_ünïcode_name():
    pass


@pytest.mark.parametrize("module_wide", [1, 2], scope="module")
def test_reordered_first(module_wide):
    pass


@pytest.mark.parametrize("module_wide", [1, 2], scope="module")
def test_reordered_second(module_wide):
    pass
