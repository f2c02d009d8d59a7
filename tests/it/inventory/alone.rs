//! Changed test files are collected alone where no other file can notice.

use super::*;

const FIRST: &str = "import pytest\n@pytest.fixture(scope='module', params=[1, 2])\ndef one(request): pass\n\
    def test_a(one): pass\ndef test_b(one): pass\ndef test_c(): pass\n";

fn suite(more: &[(&str, &str)]) -> Counted {
    let files = [
        ("pkg/__init__.py", ""),
        ("pkg/test_first.py", FIRST),
        ("pkg/test_second.py", "class TestIt:\n    def test_one(self): pass\n    def test_two(self): pass\n"),
        ("test_third.py", "def test_one(): pass\n"),
        ("conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef around(): pass\n"),
    ];
    Counted::new(&[&files, more].concat())
}

/// Collects; what `--why` says of it afterwards.
#[track_caller]
fn assert_collected(counted: &Counted, alone: Option<&str>) -> String {
    let said = counted.why(&[]);
    assert!(counted.collect_like_pytest(&[]), "Python did not start");
    let why = counted.why(&[]);
    let expected = alone.map_or("everything was collected".to_string(), |file| format!("collected alone: {file}"));
    assert!(why.lines().next().unwrap().contains(&expected), "{said}\n{why}");
    let verified = counted.collect(&["--verify"]);
    verified.assert_code(0);
    why
}

#[test]
fn a_changed_file_is_collected_alone() {
    let counted = suite(&[]);
    counted.collect_until_it_holds(&[]);
    // More tests, fewer, other names, other marks, moved lines.
    for text in [
        "\n\nclass TestIt:\n    def test_one(self): pass\n    def test_new(self): pass\n    def test_two(self): pass\n",
        "class TestOther:\n    def test_one(self): pass\n",
        "X = 3\ndef test_one(): pass\nclass TestIt:\n    def test_x(self): pass\n    test_x.y = X\n",
    ] {
        counted.write("pkg/test_second.py", text);
        if text.contains("test_x.y") {
            // What its top level does may be felt elsewhere.
            assert_collected(&counted, None);
        } else {
            assert_collected(&counted, Some("pkg/test_second.py"));
        }
    }
    counted.write("pkg/test_first.py", &FIRST.replace("[1, 2]", "[1, 2, 3]"));
    assert_collected(&counted, Some("pkg/test_first.py"));
    assert!(!counted.collect_like_pytest(&[]));
}

/// Who looks at which file was seen when all was collected, and not when one was collected alone.
#[test]
fn a_file_that_may_look_at_others_since_is_asked() {
    let counted = suite(&[]);
    counted.collect_until_it_holds(&[]);
    counted.write("pkg/test_second.py", "import sys\ndef test_one(): pass\n");
    assert_collected(&counted, None);
    counted.write("pkg/test_second.py", "import sys\ndef test_one(): assert sys.modules\n");
    // Without making sure of it, which collects all.
    assert!(counted.collect_like_pytest(&[]));
    assert!(counted.why(&[]).contains("collected alone: pkg/test_second.py"));
    counted.write("test_third.py", "def test_two(): pass\n");
    assert_collected(&counted, None);
    // It was seen now that it does not.
    counted.write("test_third.py", "def test_three(): pass\n");
    assert_collected(&counted, Some("test_third.py"));
}

#[test]
fn several_changed_files_are_merged_in_place() {
    let counted = suite(&[]);
    counted.collect_until_it_holds(&[]);
    counted.write("pkg/test_first.py", &FIRST.replace("test_c", "test_d"));
    counted.write("test_third.py", "def test_two(): pass\ndef test_one(): pass\n");
    assert_collected(&counted, Some("pkg/test_first.py, test_third.py"));
    assert!(!counted.collect_like_pytest(&[]));
    let kept = counted.collect(&["-k", "test_two"]);
    assert_eq!(kept.test_ids(), Plain::of_project(&counted.project, &["-k", "test_two", "--collect-only"]).collected);
}

/// Whatever another file might notice is collected whole, and is what pytest lists.
#[test]
fn where_others_may_notice_everything_is_collected() {
    let changed = ("pkg/test_second.py", "class TestIt:\n    def test_new(self): pass\n");
    for (more, (path, text)) in [
        // Another file uses it.
        (vec![("test_user.py", "from pkg.test_second import TestIt\n")], changed),
        // Its import changes what another file lists.
        (
            vec![
                ("shared.py", "CASES = []\n"),
                ("pkg/test_second.py", "import shared\nshared.CASES.append(1)\ndef test_it(): pass\n"),
                (
                    "test_zzz.py",
                    "import pytest, shared\n@pytest.mark.parametrize('x', shared.CASES)\ndef test_it(x): pass\n",
                ),
            ],
            ("pkg/test_second.py", "import shared\nshared.CASES.extend([1, 2])\ndef test_it(): pass\n"),
        ),
        // A hook looks at all tests.
        (
            vec![("conftest.py", "def pytest_collection_modifyitems(items): items.sort(key=lambda item: item.name)\n")],
            changed,
        ),
        // pytest orders tests of several files by a parameter.
        (
            vec![
                (
                    "conftest.py",
                    "import pytest\n@pytest.fixture(scope='session', params=[1, 2])\ndef both(request): pass\n",
                ),
                ("test_third.py", "def test_one(both): pass\ndef test_two(both): pass\n"),
            ],
            changed,
        ),
        // Its tests come of what another file's import does.
        (
            vec![
                (
                    "shared.py",
                    "class Base:\n    known = []\n    def __init_subclass__(cls): Base.known.append(cls.__name__)\n",
                ),
                ("pkg/test_first.py", "import shared\nclass Extra(shared.Base): pass\ndef test_it(): pass\n"),
                (
                    "pkg/test_second.py",
                    "import pytest, shared\n@pytest.mark.parametrize('x', shared.Base.known)\ndef test_it(x): pass\n",
                ),
            ],
            (
                "pkg/test_second.py",
                "import pytest, shared\n@pytest.mark.parametrize('x', shared.Base.known)\ndef test_new(x): pass\n",
            ),
        ),
        // Its tests are another file's.
        (
            vec![
                (
                    "shared.py",
                    "import pytest\nKNOWN = ['base']\nclass TestCommon:\n    @pytest.mark.parametrize('x', KNOWN)\n    \
                     def test_it(self, x): pass\n",
                ),
                ("pkg/test_first.py", "import shared\nshared.KNOWN.append('first')\ndef test_it(): pass\n"),
                ("pkg/test_second.py", "from shared import TestCommon\ndef test_two(): pass\n"),
            ],
            ("pkg/test_second.py", "from shared import TestCommon\ndef test_three(): pass\n"),
        ),
        // Whether it can import something.
        (
            vec![
                ("more/only.py", ""),
                ("pkg/test_first.py", "import sys\nsys.path.append('more')\ndef test_it(): pass\n"),
                (
                    "pkg/test_second.py",
                    "import pytest\ntry:\n    import only\n    X = [1]\nexcept ImportError:\n    X = []\n\
                     @pytest.mark.parametrize('x', X)\ndef test_it(x): pass\n",
                ),
            ],
            (
                "pkg/test_second.py",
                "import pytest\ntry:\n    import only\n    X = [1]\nexcept ImportError:\n    X = []\n\
                 @pytest.mark.parametrize('x', X)\ndef test_new(x): pass\n",
            ),
        ),
        // It imports something else than before.
        (
            vec![("shared.py", "")],
            ("pkg/test_second.py", "import shared\nclass TestIt:\n    def test_new(self): pass\n"),
        ),
    ] {
        let counted = suite(&more);
        counted.collect_until_it_holds(&[]);
        counted.write(path, text);
        assert_collected(&counted, None);
    }
}

/// A file that cannot be collected alone, or holds nothing any more.
#[test]
fn what_does_not_fit_is_given_up() {
    let counted = suite(&[]);
    counted.collect_until_it_holds(&[]);
    counted.write("pkg/test_second.py", "def helper(): pass\n");
    let why = assert_collected(&counted, None);
    assert!(why.contains("not alone: its tests do not fit in the place of the old ones"), "{why}");
    counted.write("test_third.py", "def test_one(:\n");
    let output = counted.collect(&[]);
    output.assert_code(2);
    assert_eq!(output.of_type("collect_error").len(), 1);
}
