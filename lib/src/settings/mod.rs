//! Owns the settings of a project: what its tests share and how they are spread. Pure;
//! `file` finds and reads them.

mod file;

use std::collections::BTreeMap;

use clap::ValueEnum;
use thiserror::Error;
use toml::{Table, Value};

pub use file::{FILE_NAME, SettingsError, read};

use crate::test_id::is_within;
use crate::unit::Keep;

/// `--dist`: which tests stay on one worker. Those of one xdist_group, and those that
/// use one exclusive fixture, always do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Dist {
    /// As fixture where that costs less than a tenth of the run's time
    #[default]
    Auto,
    /// Those of one file
    File,
    /// Those of one class; the functions of a file that are in no class
    Class,
    /// Those of one xdist_group and no others (also: group)
    #[value(alias = "group")]
    Test,
    /// Those that use the same session- or package-scoped fixture of the project
    Fixture,
}

impl Dist {
    /// What tests have in common that stay together for their place alone.
    pub fn keep(self) -> Keep {
        match self {
            Dist::File => Keep::File,
            Dist::Class => Keep::Class,
            Dist::Auto | Dist::Test | Dist::Fixture => Keep::Test,
        }
    }
}

/// What a project's file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where it was read, for people; empty where there is no file.
    pub place: String,
    /// Which tests stay on one worker.
    pub dist: Option<Dist>,
    /// Fixtures that one worker has at a time.
    pub exclusive: Vec<String>,
    /// How many there are of what tests take, each at least 1.
    pub resources: BTreeMap<String, u32>,
    /// Node ids of tests that run alone; a file, class or function stands for all its tests.
    pub serial: Vec<String>,
    /// Commands that run once, before the first test.
    pub setup: Vec<String>,
    /// Installed modules that rpt-serve imports once for all its interpreters.
    pub preload: Vec<String>,
}

/// Every key, for whoever wrote another.
const KEYS: &str = "dist, exclusive, preload, resources, serial, setup";

/// What is wrong with a file's text.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// It is no TOML.
    #[error("line {line}: {reason}")]
    Toml {
        /// From 1.
        line: usize,
        /// The parser's words.
        reason: String,
    },
    /// A key that says nothing.
    #[error("unknown key {key:?}; allowed are {KEYS}")]
    Key {
        /// The key.
        key: String,
    },
    /// A value of another kind.
    #[error("{key}: {value} is not {wanted}; allowed keys are {KEYS}")]
    Value {
        /// The key.
        key: String,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
}

impl Settings {
    /// Reads the text of `rpt.toml`.
    pub fn parse(text: &str) -> Result<Settings, FormatError> {
        Settings::of_table(&table(text)?)
    }

    /// Reads the text of `pyproject.toml`; `None` where it has no `[tool.rpt]`.
    pub fn parse_pyproject(text: &str) -> Result<Option<Settings>, FormatError> {
        // Most have none, and need not be read twice.
        if !text.contains("rpt") {
            return Ok(None);
        }
        match table(text)?.get("tool").and_then(|tool| tool.get("rpt")) {
            None => Ok(None),
            Some(Value::Table(table)) => Settings::of_table(table).map(Some),
            Some(other) => Err(wrong("tool.rpt", other, "a table")),
        }
    }

    fn of_table(table: &Table) -> Result<Settings, FormatError> {
        let mut settings = Settings::default();
        for (key, value) in table {
            match key.as_str() {
                "dist" => {
                    let dist = value.as_str().and_then(|name| Dist::from_str(name, false).ok());
                    let wanted = "one of auto, file, class, test, group, fixture";
                    settings.dist = Some(dist.ok_or_else(|| wrong(key, value, wanted))?);
                }
                "exclusive" => settings.exclusive = texts(key, value, "a list of names of fixtures")?,
                "preload" => settings.preload = texts(key, value, "a list of names of modules")?,
                "resources" => settings.resources = resources(value)?,
                "serial" => {
                    let ids = texts(key, value, "a list of node ids")?;
                    // As a shell completes them.
                    settings.serial = ids.iter().map(|id| id.trim_start_matches("./").to_string()).collect();
                }
                "setup" => settings.setup = texts(key, value, "a list of commands")?,
                _ => return Err(FormatError::Key { key: key.clone() }),
            }
        }
        Ok(settings)
    }

    /// Whether the test runs alone.
    pub fn is_serial(&self, node_id: &str) -> bool {
        self.serial.iter().any(|id| is_within(node_id, id))
    }
}

fn table(text: &str) -> Result<Table, FormatError> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
        FormatError::Toml { line: before.matches('\n').count() + 1, reason: error.message().to_string() }
    })
}

fn texts(key: &str, value: &Value, wanted: &'static str) -> Result<Vec<String>, FormatError> {
    let list = value.as_array().ok_or_else(|| wrong(key, value, wanted))?;
    let text = |one: &Value| match one.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => Err(wrong(key, one, wanted)),
    };
    list.iter().map(text).collect()
}

fn resources(value: &Value) -> Result<BTreeMap<String, u32>, FormatError> {
    let wanted = "a table of names and counts, as in db = 2";
    let table = value.as_table().ok_or_else(|| wrong("resources", value, wanted))?;
    let count = |(name, count): (&String, &Value)| {
        let number = count.as_integer().and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
        let number = number.ok_or_else(|| wrong(&format!("resources.{name}"), count, "a number from 1 on"))?;
        Ok((name.clone(), number))
    };
    table.iter().map(count).collect()
}

fn wrong(key: &str, value: &Value, wanted: &'static str) -> FormatError {
    FormatError::Value { key: key.to_string(), value: value.to_string(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_say_the_same() {
        let text = "dist = \"group\"\nexclusive = [\"server\"]\npreload = [\"numpy\"]\nserial = [\"t/slow\", \"t/a.py::test_x\"]\n\
                    setup = [\"make db\"]\n";
        let own = Settings::parse(&format!("{text}[resources]\ndb = 2\n")).unwrap();
        let pyproject = format!("[project]\nname = \"x\"\n[tool.rpt]\n{text}[tool.rpt.resources]\ndb = 2\n");
        assert_eq!(Settings::parse_pyproject(&pyproject), Ok(Some(own.clone())));
        assert_eq!((own.dist, own.resources["db"], own.setup.len()), (Some(Dist::Test), 2, 1));
        assert_eq!(own.preload, ["numpy"]);
        assert_eq!(
            ["t/slow/a.py::f", "t/slower.py::f", "t/a.py::test_x[1]", "t/a.py::test_y"].map(|id| own.is_serial(id)),
            [true, false, true, false]
        );
        assert!(Settings::parse("serial = [\"./t/a.py\"]").unwrap().is_serial("t/a.py::f"));
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
        for without in ["", "[tool.ruff]\n", "# rpt\n[tool]\n", "[rpt]\nx = 1\n"] {
            assert_eq!(Settings::parse_pyproject(without), Ok(None), "{without}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, said) in [
            (
                "resorces = {}",
                "unknown key \"resorces\"; allowed are dist, exclusive, preload, resources, serial, setup",
            ),
            ("dist = \"worksteal\"", "dist: \"worksteal\" is not one of auto, file"),
            ("dist = 3", "dist: 3 is not one of"),
            ("exclusive = \"server\"", "exclusive: \"server\" is not a list of names"),
            ("exclusive = [1]", "exclusive: 1 is not a list of names"),
            ("preload = \"numpy\"", "preload: \"numpy\" is not a list of names of modules"),
            ("serial = [\" \"]", "serial: \" \" is not a list of node ids"),
            ("setup = [[\"make\"]]", "is not a list of commands"),
            ("resources = [\"db\"]", "is not a table of names and counts"),
            ("resources = { db = 0 }", "resources.db: 0 is not a number from 1 on"),
            ("resources = { db = -1 }", "resources.db: -1 is not"),
            ("resources = { db = \"2\" }", "resources.db: \"2\" is not"),
            ("\nexclusive = [", "line 2: "),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{said:?} is not in {error:?}");
        }
        let error = Settings::parse_pyproject("[tool]\nrpt = 1\n").unwrap_err().to_string();
        assert!(error.starts_with("tool.rpt: 1 is not a table"), "{error}");
    }
}
