//! Owns reading what the binaries wrote: a reader of its own, so that a fault in
//! rpt's writer is not undone by rpt's reader.

use serde_json::Value;

/// What a pipeline left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// stdout of the last stage.
    pub(crate) stdout: Vec<u8>,
    /// Exit code (or `None` for a signal) and stderr of each stage.
    pub(crate) stages: Vec<Stage>,
}

/// The end of one process.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Output {
    /// The exit code of the last stage.
    pub(crate) fn code(&self) -> i32 {
        let last = self.stages.last().unwrap();
        last.code.unwrap_or_else(|| panic!("killed by a signal: {self:?}"))
    }

    /// stderr of the last stage.
    pub(crate) fn stderr(&self) -> &str {
        &self.stages.last().unwrap().stderr
    }

    /// The code is the expected one; shows everything otherwise.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Output {
        assert_eq!(self.code(), code, "stdout:\n{}\nstages: {:#?}", self.text(), self.stages);
        self
    }

    /// One line of the last stage's stderr, which holds all `parts`.
    #[track_caller]
    pub(crate) fn assert_one_line(&self, parts: &[&str]) -> &Output {
        let lines: Vec<&str> = self.stderr().lines().collect();
        assert_eq!(lines.len(), 1, "one line is wanted: {:#?}", self.stages);
        for part in parts {
            assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
        }
        self
    }

    /// What rpt itself said on the last stage's stderr beside the summary for people.
    pub(crate) fn said(&self) -> Vec<&str> {
        self.stderr().lines().filter(|line| line.starts_with("rpt-")).collect()
    }

    /// stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stdout as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_string).collect()
    }

    /// Every record; each line must be one.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{:#?}", self.stages))
            })
            .collect()
    }

    /// The records of one type.
    #[track_caller]
    pub(crate) fn of_type(&self, kind: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["type"] == kind).collect()
    }

    /// Id and outcome of each result, in order.
    #[track_caller]
    pub(crate) fn results(&self) -> Vec<(String, String)> {
        self.of_type("result").iter().map(|record| (text(&record["node_id"]), text(&record["outcome"]))).collect()
    }

    /// The one result of a test whose id ends so.
    #[track_caller]
    pub(crate) fn result(&self, id_end: &str) -> Value {
        let ends = |record: &Value| record["node_id"].as_str().is_some_and(|id| id.ends_with(id_end));
        let mut found: Vec<Value> = self.of_type("result").into_iter().filter(ends).collect();
        assert_eq!(found.len(), 1, "results for {id_end}: {found:#?}\n{:#?}", self.stages);
        found.remove(0)
    }

    /// The last record, which must be the run's end.
    #[track_caller]
    pub(crate) fn complete(&self) -> Value {
        let last = self.records().pop().unwrap_or_else(|| panic!("no records: {:#?}", self.stages));
        assert_eq!(last["type"], "run_complete", "{last}");
        assert_eq!(self.of_type("run_complete").len(), 1);
        last
    }

    /// The ids of the tests that were listed.
    #[track_caller]
    pub(crate) fn test_ids(&self) -> Vec<String> {
        self.of_type("test").iter().map(|record| text(&record["node_id"])).collect()
    }
}

/// A field that must be text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}")).to_string()
}

/// `total` of a run's end is the number of results, and the seven counts are theirs.
#[track_caller]
pub(crate) fn assert_totals_add_up(output: &Output) {
    let complete = output.complete();
    let results = output.results();
    for (field, outcome) in [
        ("passed", "passed"),
        ("failed", "failed"),
        ("errors", "error"),
        ("skipped", "skipped"),
        ("xfailed", "xfailed"),
        ("xpassed", "xpassed"),
        ("not_run", "not_run"),
    ] {
        let counted = results.iter().filter(|(_, read)| read == outcome).count();
        assert_eq!(complete[field], counted, "{field} in {complete}");
    }
    assert_eq!(complete["total"], results.len(), "{complete}");
    assert_eq!(complete["exit_code"], output.code(), "{complete}");
}
