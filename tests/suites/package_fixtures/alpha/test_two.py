def test_two(package_resource):
    assert package_resource == [1]
