def test_unwanted_too():
    raise AssertionError


def test_first_of_all():
    pass
