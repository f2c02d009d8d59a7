//! Tests of `effect`: which sources can be felt outside their own file.

use super::*;

fn contained(source: &str) -> bool {
    outline(source.as_bytes()).contained
}

#[test]
fn definitions_and_values_are_contained() {
    for source in [
        "",
        "'''doc'''\nimport os, pytest as p\nfrom pathlib import Path\n",
        "import pytest\npytestmark = pytest.mark.slow\n@pytest.mark.parametrize('x', [1, (2, 3)], ids=['a', 'b'])\ndef test_it(x=(1, 2)) -> None:\n    anything(x)\n    y.z = 1\n",
        "import pytest as p\nX = [p.param(1, marks=p.mark.xfail(reason='r')), *range(3)]\n",
        "A, B = 1, {'a': [x for x in (1, 2) if x not in (3,)]}\nC: int = len(B)\n",
        "from pathlib import Path\nHERE = Path(__file__).parent / 'data'\n",
        "import unittest\nclass Test(unittest.TestCase):\n    x = 'a b'.split()\n    def test_it(self): self.x.y()\n    @staticmethod\n    def f(): g()\nclass More(Test):\n    pass\n",
        "import sys\nif sys.version_info >= (3, 11):\n    X = 1\nelse:\n    X = 2\ntry:\n    import json\nexcept ImportError:\n    json = None\n",
        "import pytest\nnumpy = pytest.importorskip('numpy')\npytest.importorskip('x')\n",
        "def test_it(): f()\nif __name__ == '__main__':\n    main()\n",
        "import pytest\nNAMES = ['a']\n@pytest.mark.parametrize('x', [1], ids=NAMES)\nasync def test_it(x):\n    await y\n",
        "x = lambda: 1\n",
        "import pytest\nE = pytest.raises(ValueError, match='x')\n@pytest.fixture(scope='module', ids=['a'])\ndef it(*a, **b): pass\n",
        "X = [f'{a}' for a in (1, 2) if a == 1 or a >= 2]\nif X == [1]:\n    Y = {**{}, 'a': 1}\n",
        "import pytest\n@pytest.mark.parametrize('x, y', [(1, 2)], indirect=False, ids=('a',))\ndef test_it(x, y): pass\n",
        "import enum\nclass Color(enum.Enum):\n    RED = 1\n    def known(self): return f()\n",
    ] {
        assert!(contained(source), "{source}");
    }
}

#[test]
fn whatever_may_be_felt_elsewhere_is_not() {
    for source in [
        "import shared\nshared.CASES.append(1)\n",
        "import shared\nshared.x = 1\n",
        "import os\nos.environ['A'] = '1'\n",
        "import shared\nX = shared.register(1)\n",
        "from shared import CASES\nCASES += [1]\n",
        "from shared import Base\nclass Test(Base):\n    pass\n",
        "class Test(metaclass=M):\n    pass\n",
        "from shared import decorator\n@decorator\ndef test_it(): pass\n",
        "from shared import d\n@d.e('x')\ndef test_it(): pass\n",
        "def pytest_generate_tests(metafunc): pass\n",
        "class Test:\n    def __init_subclass__(cls): pass\n",
        "pytest_plugins = ['x']\n",
        "from shared import range\nX = range(3)\n",
        "def list(x): f()\nX = list(3)\n",
        "import pytest\ndef idfn(x): return f(x)\n@pytest.mark.parametrize('x', [1], ids=idfn)\ndef test_it(x): pass\n",
        "import pytest\ndef _label(x): return f(x)\nlabel = _label\n@pytest.mark.parametrize('x', [1], ids=label)\ndef test_it(x): pass\n",
        "import pytest\nlabel = (f)\n@pytest.mark.parametrize('x', [1], ids=label)\ndef test_it(x): pass\n",
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    def __str__(self): return f()\n",
        "class Test:\n    @property\n    def x(self): f()\n",
        "import pytest\ndef idfn(x): return f(x)\n@pytest.mark.parametrize('x', [1], ids=(idfn))\ndef test_it(x): pass\n",
        "import pytest\ndef idfn(x): return f(x)\n@pytest.mark.parametrize('x', [1], False, idfn)\ndef test_it(x): pass\n",
        "import pytest\ndef idfn(x): return f(x)\nK = {'ids': idfn}\n@pytest.mark.parametrize('x', [1], **K)\ndef test_it(x): pass\n",
        "X = sorted([1], key=[f][0])\n",
        "import pytest\n@pytest.fixture(scope=f)\ndef it(): pass\n",
        "import pytest\nX = pytest.raises(ValueError, f)\n",
        "pytest_generate_tests = f\n",
        "from shared import pytest_generate_tests\n",
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    def label(self): return f()\n    __str__ = label\n",
        "X = [str(1) for str in (f,)]\n",
        "X = [(len := f), len(1)]\n",
        "A = range = f\nX = range(1)\n",
        "import shared\nA = shared.x = 1\n",
        "X = [f'{''.join(KNOWN)}']\n",
        "X = f'{'' if shared.register() else ''}'\n",
        "if __name__ != '__main__':\n    f()\n",
        "import a # why\rf()\r",
        "X = 'a\\\r\n'\n",
        "def :\n",
        "async def :\n",
        "def\n",
        "for x in y:\n    z = x\n",
        "with x: pass\n",
        "x = 1; y = f()\n",
        "def test_it(x=f()): pass\n",
        "X = f'{f()}'\n",
        "X = a.b().c()\n",
        "X = [f for f in (g(),)]\n",
        "if f():\n    pass\n",
        "exec('x')\n",
        "print('x')\n",
        "class A:\n    x.y = 1\n",
        "del x\n",
        "try:\n    import a\nexcept E:\n    a = b()\n",
        "try:\n    from pathlib import Path\nexcept E:\n    from shared import Path\nX = Path(1)\n",
    ] {
        assert!(!contained(source), "{source}");
    }
}

#[test]
fn imports_are_digested_without_their_surroundings() {
    let imports = |source: &str| outline(source.as_bytes()).imports;
    assert_eq!(imports("import a\nx = 1\n"), imports("# why\nimport   a\n\ny = 2\n"));
    assert_ne!(imports("import a\n"), imports("import a, b\n"));
    assert_ne!(imports("import ab\n"), imports("from a import b\n"));
    // Inside a function nothing is imported yet.
    assert_eq!(imports("def f():\n    import a\n"), imports("def f():\n    import b\n"));
}

proptest::proptest! {
    /// No source makes it panic or go on for ever.
    #[test]
    fn any_source_has_an_outline(source in "[a-z=.,:;@()\\[\\]{}'\"# \n]{0,120}") {
        let _ = outline(source.as_bytes());
    }
}
