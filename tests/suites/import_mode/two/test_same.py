def test_it():
    assert "two" in __file__
