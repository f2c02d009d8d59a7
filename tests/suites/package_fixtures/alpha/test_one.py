def test_one(package_resource):
    assert package_resource == [1]
