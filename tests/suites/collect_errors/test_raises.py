def test_before_the_fault():
    pass


raise RuntimeError("while importing")
