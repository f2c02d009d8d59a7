def test_not_in_testpaths():
    raise AssertionError
