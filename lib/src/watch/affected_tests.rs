//! Tests of `affected`.

use super::*;
use proptest::prelude::*;

fn project() -> Sources {
    let files = [
        ("/p/conftest.py", ""),
        ("/p/app/__init__.py", ""),
        ("/p/app/model.py", "import os\n"),
        ("/p/app/view.py", "from app.model import Model\n"),
        ("/p/app/other.py", "def late():\n    from . import view\n"),
        ("/p/tools.py", "DATA = open('data.csv')\n"),
        ("/p/tests/conftest.py", "from tools import DATA\n"),
        ("/p/tests/test_view.py", "import app.view\n"),
        ("/p/tests/test_model.py", "from app import model\n"),
        ("/p/tests/test_none.py", "x = 'model view'.upper\n# model\n"),
        ("/p/unit/test_unit.py", "def test_tools(): pass\n"),
    ];
    let tests = ["/p/tests/test_view.py", "/p/tests/test_model.py", "/p/tests/test_none.py", "/p/unit/test_unit.py"];
    Sources {
        python: files.iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect(),
        tests: tests.iter().map(PathBuf::from).collect(),
        others: BTreeSet::from([PathBuf::from("/p/data.csv"), PathBuf::from("/p/strange.bin")]),
    }
}

fn of(changed: &[&str]) -> Vec<String> {
    match affected(&changed.iter().map(PathBuf::from).collect(), &project()) {
        Affected::All => vec!["all".to_string()],
        Affected::Files(files) => {
            files.iter().map(|file| name_of(file).trim_start_matches("test_").replace(".py", "")).collect()
        }
    }
}

#[test]
fn tests_of_whoever_imports_it() {
    for (changed, expected) in [
        (&["/p/tests/test_view.py"][..], &["view"][..]),
        // A text may name a module for `mock.patch`.
        (&["/p/app/model.py"], &["model", "none", "view"]),
        (&["/p/app/view.py"], &["none", "view"]),
        (&["/p/app/__init__.py"], &["model", "none", "view"]),
        (&["/p/app/other.py"], &[]),
        (&["/p/tools.py"], &["model", "none", "view"]),
        (&["/p/data.csv"], &["model", "none", "view"]),
        (&["/p/strange.bin"], &["all"]),
        (&["/p/unread.txt"], &[]),
        (&["/p/unit/conftest.py"], &["unit"]),
        (&["/p/conftest.py"], &["model", "none", "view", "unit"]),
        (&["/p/pyproject.toml"], &["all"]),
        (&["/p/app/other.py", "/p/unit/test_unit.py"], &["unit"]),
    ] {
        assert_eq!(of(changed), expected, "{changed:?}");
    }
}

proptest! {
    /// In a chain of imports every file reaches the test at its end, whatever else is imported.
    #[test]
    fn imports_are_followed_to_their_end(length in 1_usize..12, start in 0_usize..12, more in 0_usize..12) {
        let start = start % length;
        let mut sources = Sources::default();
        for number in 0..length {
            let text = format!("import step_{}_x, step_{}_x\n", number.wrapping_sub(1), more % length);
            sources.python.insert(format!("/p/step_{number}_x.py").into(), text.into_bytes());
        }
        let test = PathBuf::from("/p/test_end.py");
        sources.python.insert(test.clone(), format!("import step_{}_x\n", length - 1).into_bytes());
        sources.tests.insert(test.clone());
        let changed = BTreeSet::from([PathBuf::from(format!("/p/step_{start}_x.py"))]);
        prop_assert_eq!(affected(&changed, &sources), Affected::Files(BTreeSet::from([test])));
    }
}
