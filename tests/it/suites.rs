//! Owns the list of the project's suites, as `tests/suites/suites.json` has it.
//! Knows neither how they are run nor how they are judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// One suite, and what a comparison must know of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    pub(crate) name: String,
    /// The folder, where it is not the name.
    folder: Option<String>,
    /// For the table's reader.
    #[serde(rename = "about")]
    _about: String,
    /// pytest's arguments.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Why the outcomes hold only for one worker.
    pub(crate) one_worker: Option<String>,
    /// Why the outcomes do not hold in a fork.
    pub(crate) never_forked: Option<String>,
    /// Its ids differ at each collection.
    #[serde(default)]
    pub(crate) volatile: bool,
}

impl Suite {
    pub(crate) fn named(name: &str) -> Suite {
        all().into_iter().find(|suite| suite.name == name).unwrap_or_else(|| panic!("{name} is not in suites.json"))
    }

    /// Where its files are.
    pub(crate) fn source(&self) -> PathBuf {
        folder().join(self.folder.as_deref().unwrap_or(&self.name))
    }

    /// The id as it can be compared between two collections.
    pub(crate) fn stable(&self, node_id: &str) -> String {
        match node_id.split_once('[') {
            Some((test, parameters)) if self.volatile && is_volatile(parameters.trim_end_matches(']')) => {
                format!("{test}[VOLATILE]")
            }
            _ => node_id.to_string(),
        }
    }
}

/// A time in nanoseconds or a uuid.
fn is_volatile(parameter: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parameter.len() {
        19 => digits(parameter),
        36 => parameter.split('-').all(digits),
        _ => false,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/suites"))
}

fn all() -> Vec<Suite> {
    let text = std::fs::read_to_string(folder().join("suites.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Makes one test for each suite, so that a failure names it: `every_suite!(check)`
/// makes `fn oddities() { check("oddities") }` and so on.
macro_rules! every_suite {
    ($check:ident) => {
        $crate::suites::every_suite! { @one $check:
            oddities leaks stops_by_exit stops_by_interrupt collect_errors collect_errors_continued collect_exits
            one_syntax_error broken_conftest broken_inner_conftest broken_ini unreadable_ini no_tests
            warnings_as_errors addopts strict_markers no_capture reorders reorders_with_option hooks next_item
            package_fixtures import_mode worker_database session_server fixed_port session_teardown
            volatile_ids many_deselected many_subtests many_parameters same_id fork_hostile
        }
    };
    (@one $check:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $check(stringify!($name));
        })*

        #[test]
        fn all_suites_are_named() {
            $crate::suites::assert_complete(&[$(stringify!($name)),*]);
        }
    };
}
pub(crate) use every_suite;

/// The macro's list is that of suites.json.
pub(crate) fn assert_complete(names: &[&str]) {
    let listed: Vec<String> = all().into_iter().map(|suite| suite.name).collect();
    assert_eq!(listed, names);
}

/// A folder of `suites` that no suite uses would never be run.
#[test]
fn every_folder_is_a_suite() {
    let used: Vec<PathBuf> = all().iter().map(Suite::source).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.is_dir() || used.contains(&path), "{}: not in suites.json", path.display());
    }
}

/// The checked-in table is what plain pytest says.
#[test]
fn expected_outcomes_are_plain_pytest_s() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/expect");
    let check = std::process::Command::new(script).arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "tests/suites/expected.txt is out of date: run scripts/expect\n{said}");
}
