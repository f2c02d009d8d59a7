//! Tests of `settled`: which sources evaluate the same wherever they are imported.

use super::super::effect::outline;

fn settled(source: &str) -> bool {
    let found = outline(source.as_bytes());
    assert!(found.contained, "{source}");
    found.settled
}

#[test]
fn values_of_its_own_are_the_same_everywhere() {
    for source in [
        "",
        "'''doc'''\nimport product\nfrom product import Base\ndef test_it():\n    assert Base.known == product.errors\n",
        "import pytest as p\nX = [p.param(1, marks=p.mark.xfail(reason='r')), *range(3)]\n@p.mark.parametrize('x', X)\ndef test_it(x): pass\n",
        "from pytest import mark\npytestmark = mark.slow\n@mark.skipif(False, reason='x')\nclass Test:\n    y = 1\n    @staticmethod\n    def f(a, *b, c=(1, 2), **d): pass\n",
        "A, B = 1, {'a': [x for x, y in ((1, 2), (3, 4)) if y not in (3,)]}\nC: int = len(B)\nD = A == 1\n",
        "import os\nHERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')\n",
        "from os.path import abspath, dirname\nHERE = abspath(dirname(__file__))\n",
        "import sys\nif sys.version_info >= (3, 11):\n    X = 1\nelse:\n    X = 2\n",
        "import pytest\nnumpy = pytest.importorskip('numpy', minversion='1')\npytest.importorskip('x')\n",
        "import sys\nif sys.platform == 'win32' or sys.version_info[0] == 2: \n    X = 1\n",
        "from product import Base, more\ndef test_it(x: Base, y: 'Base' = 1, *, z: dict[str, Base] = {}) -> more: pass\n",
        "from product import Base\nX: Base = None\n",
        "import enum\nclass Color(enum.Enum):\n    RED = 1\nALL = [Color.RED, lambda c: c]\n",
        "from pathlib import Path\nHERE = Path(__file__).parent / 'data'\n",
        "NAME = 'a'\nX = f'{NAME}'\n",
        "class Test:\n    pass\nKINDS = [list, iter, print]\n",
    ] {
        assert!(settled(source), "{source}");
    }
}

#[test]
fn what_others_may_have_changed_is_not() {
    for source in [
        "import os\nMODE = os.environ.get('MODE', 'plain')\n",
        "import os\nMODE = os.environ\n",
        "import os\nHERE = os.path.abspath('data')\n",
        "import os\nHERE = os.path.abspath(os.path.join('data', __file__))\n",
        "import pytest, product\n@pytest.mark.parametrize('n', product.Base.known)\ndef test_it(n): pass\n",
        "import pytest\nfrom product import KNOWN\n@pytest.mark.parametrize('n', KNOWN)\ndef test_it(n): pass\n",
        "import pytest\nfrom product import KNOWN\nX = [*KNOWN]\n",
        "import pytest, product as p\n@pytest.mark.parametrize('n', [p.errors.Missing])\ndef test_it(n): pass\n",
        "import pytest, sys\n@pytest.mark.skipif('x' not in sys.modules, reason='x')\ndef test_it(): pass\n",
        "import product\ndef test_it(x: product.errors.Missing): pass\n",
        "import product\ndef test_it(x=product.VALUE): pass\n",
        "import product\ndef test_it(x: int = product.VALUE) -> int: pass\n",
        "import product\ndef test_it(x) -> product.errors.Missing: pass\n",
        "import product\nX: product.errors.Missing = 1\n",
        "from product import FLAG\nif FLAG:\n    X = 1\n",
        "from product import VALUE\nX = f'{VALUE}'\n",
        "from product import *\n",
        "X = KNOWN\n",
        "from product import known\nclass Test:\n    known = 1\nX = known\n",
        "from product import x\nY = [x for y in (1, 2)]\nZ = [x for x in (1, 2)]\n",
        "import pytest\nnumpy = pytest.importorskip('numpy')\nX = numpy.known\n",
        "try:\n    import a\nexcept ImportError:\n    a = None\nHAS = a is not None\n",
        "try:\n    import a\n    X = 1\nexcept ImportError:\n    X = 2\n",
        "import pytest\n@pytest.mark.parametrize('n', pytest.importorskip('shared').KNOWN)\ndef test_it(n): pass\n",
        "import pytest\nX = pytest.importorskip('shared').KNOWN\n",
        "import pathlib\nX = 'A' in pathlib.os.environ\n",
        "import logging\nLEVEL = logging.getLogger('x').level\n",
        "from product import Base\nclass Test:\n    class Inner:\n        x = Base\n",
        "from product import f\nX = [lambda: f]\n",
        "from product import d\nX = dict(a=d)\n",
    ] {
        assert!(!settled(source), "{source}");
    }
}
