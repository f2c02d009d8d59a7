def test_it():
    assert "one" in __file__
