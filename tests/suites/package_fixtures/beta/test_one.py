def test_other_package_does_not_have_it(request):
    assert "package_resource" not in request.fixturenames
