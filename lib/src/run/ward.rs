//! Owns the quarantine while a run is on: whose failure is excused, and which entries
//! that came to their end the run has met.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::civil::Date;

use crate::cli::one_line;
use crate::quarantine::{FILE_NAME, Quarantine, QuarantineError, at_revision, read};
use crate::record::TestResult;

/// `--quarantine-from`, `--no-quarantine`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QuarantineFrom {
    /// The file in the working tree.
    #[default]
    File,
    /// The file as it stands in a git revision, so that a change cannot excuse itself.
    Revision(String),
    /// Nothing is in quarantine.
    Nowhere,
}

/// The quarantine of one run.
#[derive(Debug, Default)]
pub(super) struct Ward {
    quarantine: Quarantine,
    today: Date,
    /// Expired entries that tests of this run fall under.
    expired: BTreeSet<String>,
}

impl Ward {
    /// Reads what is in quarantine on that day.
    pub(super) fn open(from: &QuarantineFrom, rootdir: &Path, today: Date) -> Result<Ward, QuarantineError> {
        let quarantine = match from {
            QuarantineFrom::File => read(&rootdir.join(FILE_NAME))?,
            QuarantineFrom::Revision(revision) => at_revision(rootdir, revision)?,
            QuarantineFrom::Nowhere => Quarantine::default(),
        };
        Ok(Ward { quarantine, today, expired: BTreeSet::new() })
    }

    /// Whether nothing is excused.
    pub(super) fn is_empty(&self) -> bool {
        self.quarantine.is_empty()
    }

    /// Marks the result of a test in quarantine.
    pub(super) fn mark(&mut self, result: &mut TestResult) {
        let Some(entry) = self.quarantine.of(&result.node_id) else {
            return;
        };
        if !entry.is_expired(self.today) {
            result.quarantined = true;
        } else if !self.expired.contains(&entry.node_id) {
            self.expired.insert(entry.node_id.clone());
        }
    }

    /// What people should know at the end.
    pub(super) fn last_words(&self) -> Vec<String> {
        let entries = self.expired.iter().filter_map(|id| self.quarantine.of(id));
        let told = entries.map(|entry| {
            format!(
                "the quarantine of {} ended on {}: it counts again (owner {}, {})",
                one_line(&entry.node_id),
                entry.until,
                one_line(&entry.owner),
                one_line(&entry.reason)
            )
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::outcome::Outcome;
    use crate::quarantine::Entry;

    #[test]
    fn an_entry_excuses_until_its_last_day_and_is_named_after_it() {
        let mut ward = Ward { today: date(2026, 6, 1), ..Ward::default() };
        for (node_id, until) in
            [("a.py::test_a", date(2026, 6, 1)), ("b.py", date(2026, 5, 31)), ("c.py", date(2026, 1, 1))]
        {
            let entry = Entry { node_id: node_id.into(), until, owner: "ann".into(), reason: "slow".into() };
            ward.quarantine.put(entry);
        }
        let mut marked = |node_id: &str| {
            let mut result = TestResult { node_id: node_id.into(), outcome: Outcome::Failed, ..TestResult::default() };
            ward.mark(&mut result);
            result.quarantined
        };
        assert_eq!(
            ["a.py::test_a", "b.py::test_b", "b.py::test_c", "d.py::test_d"].map(&mut marked),
            [true, false, false, false]
        );
        let words = ward.last_words();
        assert_eq!(words, ["the quarantine of b.py ended on 2026-05-31: it counts again (owner ann, slow)"]);
    }
}
