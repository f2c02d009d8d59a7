//! Owns the judge: what plain pytest says of a suite, through
//! `scripts/plain_pytest.py`, asked once for each suite and arguments.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde::Deserialize;

use crate::command::Command;
use crate::project::Project;
use crate::suites::Suite;

/// What plain pytest reported.
#[derive(Debug, Deserialize)]
pub(crate) struct Plain {
    pub(crate) exit_code: i32,
    pub(crate) collected: Vec<String>,
    pub(crate) deselected: u64,
    pub(crate) collect_errors: Vec<PlainError>,
    pub(crate) tests: Vec<PlainTest>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PlainError {
    pub(crate) node_id: String,
    pub(crate) message: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PlainTest {
    pub(crate) node_id: String,
    pub(crate) outcome: String,
    pub(crate) message: Option<String>,
    pub(crate) sections: Vec<(String, String)>,
}

impl Plain {
    /// Of a suite with its own arguments and `more`; each is run once.
    pub(crate) fn of_suite(suite: &Suite, more: &[&str]) -> Arc<Plain> {
        static KNOWN: OnceLock<Mutex<HashMap<String, Arc<Plain>>>> = OnceLock::new();
        let key = format!("{} {more:?}", suite.name);
        let known = KNOWN.get_or_init(Mutex::default);
        if let Some(plain) = known.lock().unwrap().get(&key) {
            return plain.clone();
        }
        let args: Vec<&str> = suite.args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let plain = Arc::new(Plain::of_project(&Project::suite(suite), &args));
        known.lock().unwrap().insert(key, plain.clone());
        plain
    }

    /// Of a project.
    pub(crate) fn of_project(project: &Project, args: &[&str]) -> Plain {
        Plain::by(project.python(), project, args)
    }

    /// Of a project, as `python` has it.
    pub(crate) fn by(python: Command, project: &Project, args: &[&str]) -> Plain {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/plain_pytest.py");
        let out = project.temporary().join("plain.json");
        let output = python.arg(script).arg(&out).args(args).run();
        let text = std::fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {output:#?}"));
        std::fs::remove_file(out).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Id and outcome of each test, in pytest's order.
    pub(crate) fn outcomes(&self) -> Vec<(String, String)> {
        self.tests.iter().map(|test| (test.node_id.clone(), test.outcome.clone())).collect()
    }
}
