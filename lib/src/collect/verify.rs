//! Owns comparing a kept collection with a fresh one, for `--verify`.

use std::io::Write;

use super::fresh::{self, Fresh};
use super::kept::Known;
use super::question::Question;
use crate::cli::say;
use crate::exit::Exit;
use crate::inventory::store;
use crate::record::Test;

/// How many differences are shown of each kind.
const SHOWN: usize = 20;

/// Collects, compares with what is kept, and keeps the fresh one. Writes the difference
/// to stdout, and nothing where there is none.
pub(super) fn verify(question: &Question) -> anyhow::Result<Exit> {
    let stored = store::find(&question.roots, &question.key);
    let Some((mut head, records)) = stored.and_then(|mut stored| {
        let records = stored.records()?;
        Some((stored.head, records))
    }) else {
        say("rpt-collect: nothing is kept of such a collection, so that there is nothing to compare");
        return Ok(Exit::NothingToRun);
    };
    let changes = head.dependencies.compare(&question.environment).changes;
    let held = changes.is_empty() && head.is_trusted();
    let reasons = vec!["--verify".to_string()];
    let node_count = head.node_count;
    let known = Known { same_inputs: changes.is_empty(), before: Some(head), reasons };
    let Fresh { tests, errors } = fresh::silent(question, known)?;
    let mut out = std::io::stdout().lock();
    if !held {
        say("rpt-collect: what is kept did not hold any more; it would have been collected again");
    }
    let kept: Vec<Test> = records
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?;
    let mut differences: Vec<String> =
        errors.iter().map(|error| format!("cannot collect {}", error.file_path)).collect();
    differences.extend(difference(&kept, &tests));
    if differences.is_empty() {
        say(&format!("rpt-collect: {node_count} tests, as kept"));
        return Ok(Exit::Ok);
    }
    for line in &differences {
        writeln!(out, "{line}")?;
    }
    // A listing that did not claim to hold was not wrong.
    Ok(Exit::TestsFailed)
}

/// One line for each difference: `- id` is only kept, `+ id` only collected, `! id`
/// differs in something, `~` is in another order.
fn difference(kept: &[Test], fresh: &[Test]) -> Vec<String> {
    use std::collections::HashMap;
    let by_id = |tests: &'_ [Test]| -> HashMap<String, Vec<Test>> {
        let mut found: HashMap<String, Vec<Test>> = HashMap::new();
        for test in tests {
            found.entry(test.node_id.clone()).or_default().push(test.clone());
        }
        found
    };
    let (old, new) = (by_id(kept), by_id(fresh));
    let count = |tests: &HashMap<String, Vec<Test>>, id: &str| tests.get(id).map_or(0, Vec::len);
    let mut lines = Vec::new();
    let mut list = |sign: &str, ids: Vec<&str>| {
        lines.extend(ids.iter().take(SHOWN).map(|id| format!("{sign} {}", crate::cli::one_line(id))));
        if ids.len() > SHOWN {
            lines.push(format!("{sign} and {} more", ids.len() - SHOWN));
        }
    };
    let missing = |tests: &'_ [Test], here: &HashMap<String, Vec<Test>>, there: &HashMap<String, Vec<Test>>| {
        let ids = tests.iter().map(|test| test.node_id.clone());
        ids.filter(|id| count(here, id) > count(there, id)).collect::<Vec<String>>()
    };
    let (gone, come) = (missing(kept, &old, &new), missing(fresh, &new, &old));
    list("-", gone.iter().map(String::as_str).collect());
    list("+", come.iter().map(String::as_str).collect());
    let changed = kept.iter().filter(|test| count(&old, &test.node_id) == count(&new, &test.node_id));
    list(
        "!",
        changed.filter(|test| old.get(&test.node_id) != new.get(&test.node_id)).map(|test| &*test.node_id).collect(),
    );
    if lines.is_empty() {
        let moved = kept.iter().zip(fresh).find(|(old, new)| old.node_id != new.node_id);
        lines.extend(
            moved.map(|(old, _)| format!("~ the order differs from {} on", crate::cli::one_line(&old.node_id))),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(ids: &[&str]) -> Vec<Test> {
        ids.iter().map(|id| Test { node_id: id.to_string(), ..Test::default() }).collect()
    }

    #[test]
    fn each_difference_has_a_line() {
        assert_eq!(difference(&tests(&["a", "b"]), &tests(&["a", "b"])), Vec::<String>::new());
        assert_eq!(difference(&tests(&["a", "b"]), &tests(&["b", "c"])), ["- a", "+ c"]);
        assert_eq!(difference(&tests(&["a", "b"]), &tests(&["b", "a"])), ["~ the order differs from a on"]);
        assert_eq!(difference(&tests(&["a"]), &tests(&["a", "a"])), ["+ a", "+ a"]);
        let mut skipped = tests(&["a"]);
        skipped[0].skip = true;
        assert_eq!(difference(&tests(&["a"]), &skipped), ["! a"]);
    }
}
