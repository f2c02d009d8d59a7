def test_never():
    assert "ÿş"
