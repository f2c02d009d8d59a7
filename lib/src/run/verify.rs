//! Owns the proof that rpt says what pytest says: plain pytest runs the same tests in one
//! process, and ids and outcomes are compared one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::outcome::{Outcome, PhaseReport, decide};

/// The program given to `python -c`.
const PLAIN: &str = include_str!("../../shim/plain.py");

/// Outcomes by id: with pytest 7 several tests may have one.
pub(super) type Outcomes = BTreeMap<String, Vec<Outcome>>;

/// What plain pytest makes of `args`.
pub(super) fn plain(python: &Path, args: &[String]) -> anyhow::Result<Outcomes> {
    let told = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut command = Command::new(python);
    command.arg("-c").arg(PLAIN).arg(told.path()).args(args);
    if std::env::var_os("PYTHONHASHSEED").is_none_or(|value| value.is_empty()) {
        // As in rpt's own processes: suites that parametrize over sets have the same ids.
        command.env("PYTHONHASHSEED", "0");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().with_context(|| format!("cannot start {}", python.display()))?;
    read(BufReader::new(File::open(told.path()).context("cannot read what plain pytest said")?))
}

fn read(lines: impl BufRead) -> anyhow::Result<Outcomes> {
    let mut reports: BTreeMap<(String, u32), Vec<PhaseReport>> = BTreeMap::new();
    for line in lines.lines() {
        let line = line.context("cannot read what plain pytest said")?;
        let (node_id, nth, report) = serde_json::from_str(&line).context("cannot read what plain pytest said")?;
        reports.entry((node_id, nth)).or_default().push(report);
    }
    let mut outcomes = Outcomes::new();
    for ((node_id, _), reports) in reports {
        outcomes.entry(node_id).or_default().push(decide(&reports).outcome);
    }
    Ok(outcomes)
}

/// What differs, a line for each test. `all`: every test that plain pytest ran was asked for.
pub(super) fn differences(ours: &Outcomes, theirs: &Outcomes, all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (node_id, outcomes) in ours {
        match theirs.get(node_id) {
            Some(others) if sorted(others) == sorted(outcomes) => {}
            Some(others) => lines.push(format!("{node_id}: {} here, {} in plain pytest", told(outcomes), told(others))),
            None => lines.push(format!("{node_id}: {} here, not in plain pytest", told(outcomes))),
        }
    }
    for (node_id, outcomes) in theirs.iter().filter(|(node_id, _)| all && !ours.contains_key(*node_id)) {
        lines.push(format!("{node_id}: not here, {} in plain pytest", told(outcomes)));
    }
    lines
}

/// Tests of one id end in any order.
fn sorted(outcomes: &[Outcome]) -> Vec<&'static str> {
    let mut names: Vec<_> = outcomes.iter().map(|outcome| outcome.name()).collect();
    names.sort_unstable();
    names
}

fn told(outcomes: &[Outcome]) -> String {
    sorted(outcomes).join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_a_line() {
        let of =
            |pairs: &[(&str, Outcome)]| pairs.iter().map(|(id, outcome)| (id.to_string(), vec![*outcome])).collect();
        let ours: Outcomes = of(&[("a", Outcome::Passed), ("b", Outcome::Failed), ("c", Outcome::Skipped)]);
        let theirs: Outcomes = of(&[("a", Outcome::Passed), ("b", Outcome::Passed), ("d", Outcome::Error)]);
        assert_eq!(
            differences(&ours, &theirs, true),
            [
                "b: failed here, passed in plain pytest",
                "c: skipped here, not in plain pytest",
                "d: not here, error in plain pytest"
            ]
        );
        assert_eq!(differences(&ours, &theirs, false).len(), 2);
        assert!(differences(&ours, &ours, true).is_empty());
    }

    #[test]
    fn outcomes_are_decided_as_in_a_run() {
        let text = "[\"a\",1,{\"when\":\"setup\",\"outcome\":\"passed\",\"duration\":0}]\n\
            [\"a\",1,{\"when\":\"call\",\"outcome\":\"skipped\",\"duration\":0,\"wasxfail\":\"x\"}]\n";
        assert_eq!(read(text.as_bytes()).unwrap()["a"], [Outcome::Xfailed]);
        let twice = format!("{text}[\"a\",2,{{\"when\":\"setup\",\"outcome\":\"failed\",\"duration\":0}}]\n");
        let theirs = read(twice.as_bytes()).unwrap();
        assert_eq!(theirs["a"], [Outcome::Xfailed, Outcome::Error]);
        let ours = Outcomes::from([("a".to_string(), vec![Outcome::Error, Outcome::Xfailed])]);
        assert!(differences(&ours, &theirs, true).is_empty());
        let once = Outcomes::from([("a".to_string(), vec![Outcome::Error])]);
        assert_eq!(differences(&once, &theirs, true), ["a: error here, error and xfailed in plain pytest"]);
        assert!(read(&b"nonsense\n"[..]).is_err());
    }
}
