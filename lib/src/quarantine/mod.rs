//! Owns the quarantine: tests that run and are reported but whose failure does not
//! turn a run red, until a date, in a file that is reviewed like code. Pure; `file`
//! reads and writes it, `rows` shows it.

mod file;
mod rows;

use jiff::civil::Date;
use serde::Deserialize;
use thiserror::Error;

pub use file::{FILE_NAME, QuarantineError, at_revision, locate, read, write};
pub use rows::QuarantineRow;

use crate::test_id::is_within;

/// The first lines of the file.
const HEADER: &str = "\
# Tests in quarantine: they run and are reported, and their failure does not turn a run red.
# `rpt-history quarantine add|list|remove` keeps this file, sorted; other comments are lost.
";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A test's node id; a file, class or function stands for all its tests.
    pub node_id: String,
    /// The last day on which it counts, in UTC.
    pub until: Date,
    /// Who looks after it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

impl Entry {
    /// Whether it counts no more.
    pub fn is_expired(&self, today: Date) -> bool {
        today > self.until
    }
}

/// All entries, sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantine {
    entries: Vec<Entry>,
}

/// What is wrong with a file's text.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// It is no TOML, or not of this shape.
    #[error("{0}")]
    Shape(String),
    /// A field says nothing.
    #[error("the entry of {node_id:?} has an empty {field}")]
    Empty {
        /// The entry.
        node_id: String,
        /// Its field.
        field: &'static str,
    },
    /// A test stands there twice.
    #[error("{0:?} has two entries")]
    Twice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    quarantine: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    node_id: String,
    until: toml::value::Datetime,
    owner: String,
    reason: String,
}

impl Quarantine {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Quarantine, FormatError> {
        let shape = |error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            FormatError::Shape(format!("{place}{}", error.message()))
        };
        let document: Document = toml::from_str(text).map_err(shape)?;
        let mut quarantine = Quarantine::default();
        for raw in document.quarantine {
            let until = match (raw.until.date, raw.until.time) {
                (Some(date), None) => {
                    Date::new(date.year as i16, date.month as i8, date.day as i8).map_err(|error| error.to_string())
                }
                _ => Err("it is no date such as 2026-12-31".to_string()),
            };
            let until = until.map_err(|reason| FormatError::Shape(format!("until of {:?}: {reason}", raw.node_id)))?;
            let entry = Entry { node_id: raw.node_id, until, owner: raw.owner, reason: raw.reason };
            let fields = [("node_id", &entry.node_id), ("owner", &entry.owner), ("reason", &entry.reason)];
            let empty = fields.into_iter().find(|(_, text)| text.trim().is_empty()).map(|(field, _)| field);
            if let Some(field) = empty {
                return Err(FormatError::Empty { node_id: entry.node_id, field });
            }
            if let Some(before) = quarantine.put(entry) {
                return Err(FormatError::Twice(before.node_id));
            }
        }
        Ok(quarantine)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = HEADER.to_string();
        let quoted = |text: &str| toml::Value::String(text.to_string()).to_string();
        for Entry { node_id, until, owner, reason } in &self.entries {
            text.push_str(&format!(
                "\n[[quarantine]]\nnode_id = {}\nuntil = {until}\nowner = {}\nreason = {}\n",
                quoted(node_id),
                quoted(owner),
                quoted(reason)
            ));
        }
        text
    }

    /// All entries, sorted by id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry in its place; gives back the one of this id that it replaces.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        match self.place(&entry.node_id) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                self.entries.insert(at, entry);
                None
            }
        }
    }

    /// Takes the entry of exactly this id out.
    pub fn take(&mut self, node_id: &str) -> Option<Entry> {
        self.place(node_id).ok().map(|at| self.entries.remove(at))
    }

    /// The entry that a test falls under: its own, else the nearest of its function,
    /// class, file or folder.
    pub fn of(&self, node_id: &str) -> Option<&Entry> {
        if let Ok(at) = self.place(node_id) {
            return Some(&self.entries[at]);
        }
        let around = self.entries.iter().filter(|entry| is_within(node_id, &entry.node_id));
        around.max_by_key(|entry| entry.node_id.len())
    }

    fn place(&self, node_id: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.node_id.as_str().cmp(node_id))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn entry(node_id: &str) -> Entry {
        Entry { node_id: node_id.into(), until: date(2026, 12, 31), owner: "ann".into(), reason: "slow".into() }
    }

    #[test]
    fn the_file_s_form() {
        let mut quarantine = Quarantine::default();
        quarantine.put(entry("b.py::test_b"));
        quarantine.put(Entry { reason: "says \"no\"\nand\tmore".into(), ..entry("a.py::test_a[x-\\d]") });
        let text = quarantine.render();
        let body = text.strip_prefix(HEADER).unwrap();
        assert_eq!(
            body.split("\n\n").last().unwrap(),
            "[[quarantine]]\nnode_id = \"b.py::test_b\"\nuntil = 2026-12-31\nowner = \"ann\"\nreason = \"slow\"\n"
        );
        assert_eq!(Quarantine::parse(&text), Ok(quarantine));
        assert_eq!(Quarantine::parse(""), Ok(Quarantine::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |line: &str, instead: &str| {
            let mut quarantine = Quarantine::default();
            quarantine.put(entry("a.py"));
            Quarantine::parse(&quarantine.render().replace(line, instead)).unwrap_err().to_string()
        };
        for (line, instead, said) in [
            ("owner = \"ann\"", "owner = \" \"", "empty owner"),
            ("owner = \"ann\"", "", "missing field `owner`"),
            ("owner", "author", "unknown field `author`"),
            ("2026-12-31", "2026-12-31T10:00:00Z", "no date"),
            ("2026-12-31", "\"soon\"", "line 6"),
            ("[[quarantine]]", "[[quarantined]]", "unknown field `quarantined`"),
            ("reason = \"slow\"", "reason = ", "line 8"),
        ] {
            let error = with(line, instead);
            assert!(error.contains(said), "{said:?} is not in {error:?}");
        }
        let mut twice = Quarantine::default();
        twice.put(entry("a.py"));
        let text = twice.render();
        let body = text.strip_prefix(HEADER).unwrap();
        assert_eq!(Quarantine::parse(&format!("{body}{body}")), Err(FormatError::Twice("a.py".into())));
    }

    #[test]
    fn the_nearest_entry_counts() {
        let mut quarantine = Quarantine::default();
        for id in ["t/a.py", "t/a.py::TestX", "t/a.py::TestX::test_y", "u"] {
            quarantine.put(entry(id));
        }
        let of = |id: &str| quarantine.of(id).map(|entry| entry.node_id.as_str());
        assert_eq!(of("t/a.py::TestX::test_y[1]"), Some("t/a.py::TestX::test_y"));
        assert_eq!(of("t/a.py::TestX::test_yy"), Some("t/a.py::TestX"));
        assert_eq!(of("t/a.py::test_z"), Some("t/a.py"));
        assert_eq!(of("u/b.py::test"), Some("u"));
        assert_eq!(of("t/b.py::test"), None);
        assert_eq!(quarantine.take("t/a.py::TestX").unwrap().node_id, "t/a.py::TestX");
        assert!(quarantine.take("t/a.py::TestX").is_none());
    }

    #[test]
    fn the_last_day_counts() {
        let entry = entry("a.py");
        assert!(!entry.is_expired(date(2026, 12, 31)));
        assert!(entry.is_expired(date(2027, 1, 1)));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(ids in proptest::collection::vec(".+", 0..5), owner in "\\PC+", reason in ".+") {
            let mut quarantine = Quarantine::default();
            for id in ids.iter().filter(|id| !id.trim().is_empty()) {
                let entry = Entry { owner: owner.clone(), reason: reason.clone(), ..entry(id) };
                quarantine.put(entry);
            }
            prop_assume!(!owner.trim().is_empty() && !reason.trim().is_empty());
            prop_assert_eq!(Quarantine::parse(&quarantine.render()), Ok(quarantine));
        }
    }
}
