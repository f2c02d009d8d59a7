import pytest


class TestOrders:
    def test_order(self, ask):
        assert ask("order") == "ORDER"

    @pytest.mark.usefixtures("server")
    def test_by_mark(self):
        pass


@pytest.mark.parametrize("number", range(10))
def test_without_server(number):
    assert number != 3
