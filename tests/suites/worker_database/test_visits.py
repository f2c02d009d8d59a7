import pytest


@pytest.mark.parametrize("visit", range(20))
def test_visit(database, visit):
    with database:
        database.execute("insert into visits values (?)", [f"visit {visit}"])
    assert database.execute("select count(*) from visits where test = ?", [f"visit {visit}"]).fetchone() == (1,)
