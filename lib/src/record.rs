//! Owns the records on the pipe: their names, their fields, their JSON and
//! msgpack form. Pure: reading and writing streams is `stream`.
//!
//! A record is one map whose `type` says which of [`Record`]'s variants it is.
//! Writers use [`Record`]; readers first look at a record's [`Kind`] and then
//! read the one struct they need, so an unknown type is never an error and an
//! unknown field never lost (filters forward the record's own bytes).

use serde::{Deserialize, Serialize};

use crate::outcome::{Crash, Outcome, Phase};

/// A record to write. The variant becomes the field `type`, in snake_case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// One collected test.
    Test(Test),
    /// A file (or node) that could not be collected.
    CollectError(CollectError),
    /// The end of a collection.
    Collection(Collection),
    /// The end of a shard.
    Shard(Shard),
    /// A plan's figures, the whole output of `rpt-shard --info`.
    ShardInfo(ShardInfo),
    /// Scores of the strategies, the whole output of `rpt-order --eval`.
    OrderEval(OrderEval),
    /// A test that begins to run.
    Started(Started),
    /// A test that ended.
    Result(TestResult),
    /// The end of a run.
    RunComplete(RunComplete),
}

/// The type of a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `test`
    Test,
    /// `collect_error`
    CollectError,
    /// `collection`
    Collection,
    /// `shard`
    Shard,
    /// `started`
    Started,
    /// `result`
    Result,
    /// `run_complete`
    RunComplete,
    /// Any other type: forwarded untouched.
    Other,
}

impl Kind {
    /// Whether the record names a test to run: a test, or what became of one.
    pub fn is_test(self) -> bool {
        matches!(self, Kind::Test | Kind::Result)
    }

    /// The kind that the value of a field `type` names.
    pub fn of(name: &str) -> Kind {
        match name {
            "test" => Kind::Test,
            "collect_error" => Kind::CollectError,
            "collection" => Kind::Collection,
            "shard" => Kind::Shard,
            "started" => Kind::Started,
            "result" => Kind::Result,
            "run_complete" => Kind::RunComplete,
            _ => Kind::Other,
        }
    }
}

/// A collected test, as pytest sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// pytest's node id, relative to rootdir.
    pub node_id: String,
    /// The file that holds the test, relative to rootdir.
    pub file_path: String,
    /// The line of its definition, 1-based; null if pytest does not know.
    pub lineno: Option<u32>,
    /// The item's name, parameters included.
    pub name: String,
    /// The class (nested ones joined with `::`); null for a function.
    pub class_name: Option<String>,
    /// Names of its marks, its class's and module's included, each once, nearest first.
    #[serde(default)]
    pub markers: Vec<String>,
    /// It carries an unconditional skip mark, or a skipif whose condition is true as far as collection can tell.
    #[serde(default)]
    pub skip: bool,
    /// It carries an xfail mark.
    #[serde(default)]
    pub xfail: bool,
    /// The name of its xdist_group mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What `-k` matches beyond the parts of the id and the marks; mostly nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// The fixtures of module scope and wider that it is known to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixtures: Option<Vec<Fixture>>,
    /// How long history expects it to take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<f64>,
    /// Why rpt-order put it where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A set-up that several tests share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fixture {
    /// Its name.
    pub name: String,
    /// `session`, `package` or `module`.
    pub scope: String,
    /// The node below which it can be seen; empty: everywhere. Two fixtures of one name
    /// differ in it.
    pub base: String,
}

/// A file or node that could not be collected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectError {
    /// The file (or the node id) pytest names, relative to rootdir.
    pub file_path: String,
    /// pytest's own text.
    pub message: String,
}

/// The end of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// How many `test` records came before.
    pub node_count: u64,
    /// How many `collect_error` records came before.
    pub errors: u64,
    /// How many tests pytest or a plugin deselected.
    pub deselected: u64,
    /// `sha256:` and 64 hex digits over the tests in order.
    pub inventory_hash: String,
    /// Wall time of the collection, in milliseconds.
    pub duration_ms: f64,
    /// The arguments pytest was given.
    pub pytest_args: Vec<String>,
    /// pytest's rootdir, absolute.
    pub rootdir: String,
    /// By what name the process that collected waits for rpt-run, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// For a listing that was kept, so that nobody waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// How rpt-run starts the process that a listing which was kept did not need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Digests of folder, interpreter and environment, and of the options: only in the
    /// same context are the same arguments the same collection.
    pub context: String,
    /// pytest's arguments without paths, `-k` and `-m`.
    pub options: Vec<String>,
}

/// The end of a shard's stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Which shard this is, from 0.
    pub shard_index: u32,
    /// How many there are.
    pub total_shards: u32,
    /// The strategy's name.
    pub strategy: String,
    /// Digest of the whole plan: equal on every machine that holds the same plan.
    pub plan: String,
    /// How many tests this shard holds.
    pub test_count: u64,
    /// How long history expects this shard to take, in milliseconds.
    pub expected_ms: f64,
}

/// How a plan spreads tests and time: the record `shard_info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// The strategy's name.
    pub strategy: String,
    /// How many shards there are.
    pub total_shards: u32,
    /// How many tests there are.
    pub total_tests: usize,
    /// How many tests each shard holds.
    pub shard_test_counts: Vec<usize>,
    /// How long each shard is expected to take, in milliseconds; 0 without a history.
    pub shard_durations_ms: Vec<u64>,
    /// (max - min) / max * 100 over the counts, 0 where max is 0, to 2 places.
    pub count_imbalance_percent: f64,
    /// The same over the durations.
    pub duration_imbalance_percent: f64,
    /// The longest shard's duration, in milliseconds.
    pub estimated_wall_time_ms: u64,
}

/// How soon each strategy would have found the failures of recorded runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderEval {
    /// How many runs were replayed.
    pub runs: u64,
    /// How many of them have failures that are not flaky, and a run before them.
    pub judged_runs: u64,
    /// How many flaky failures were left out.
    pub flaky_failures: u64,
    /// Which tests stayed together.
    pub keep: String,
    /// Every strategy, and `ideal`, which knows the failures.
    pub scores: Vec<OrderScore>,
}

/// One strategy's means over the judged runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderScore {
    /// The strategy's name.
    pub strategy: String,
    /// Average percentage of faults detected, 0 to 1, each failure a fault of its own.
    pub apfd: f64,
    /// The same, all failures of a run one fault.
    pub apfd_many_to_one: f64,
    /// Cost-cognisant APFD, each failure a fault of its own.
    pub apfdc: f64,
    /// The same, all failures of a run one fault.
    pub apfdc_many_to_one: f64,
    /// Time to the end of the first failure, in milliseconds.
    pub first_failure_ms: f64,
}

/// A test that begins to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// pytest's node id.
    pub node_id: String,
    /// The worker that runs it: `gw0`, `gw1`, … or `master` without workers.
    pub worker: String,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// A test that ended: exactly one for each test requested.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// pytest's node id.
    pub node_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Set-up, call and tear-down together, in milliseconds.
    pub duration_ms: f64,
    /// How much of it set up fixtures of module and package scope, in milliseconds; null below 1 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_setup_ms: Option<f64>,
    /// How much of it set up fixtures of session scope, in milliseconds; null below 1 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_setup_ms: Option<f64>,
    /// pytest's longrepr as text, a skip's reason, or what rpt saw where pytest said nothing.
    pub message: Option<String>,
    /// Where it failed and with what, or where it was skipped, as far as pytest said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// The phase that decided the outcome, where it is not the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Phase>,
    /// The reason of an expected failure (xfailed, xpassed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasxfail: Option<String>,
    /// What pytest could not say: `crash: signal 11`, `exit 3`, `not found`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Captured output of a test that did not pass: title and text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<(String, String)>,
    /// What pytest reported, part by part, where one outcome does not say it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// It did not fail in the end, but an earlier attempt of this run did; or it failed
    /// where an earlier attempt passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// It is in quarantine: its failure does not turn the run red.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
    /// What it left behind, with `--detect-leaks`: processes, threads, open files, settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<String>,
    /// What `record_property` was told: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, String)>,
    /// How many of its subtests passed; the others are parts in `attempts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passing_subtests: Option<u64>,
    /// The worker that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When its set-up began, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<f64>,
    /// The file that holds it, relative to rootdir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// The line of its definition, 1-based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineno: Option<u32>,
    /// pytest's own reports, serialised, where somebody asked; not a field of the record.
    #[serde(skip)]
    pub reports: Vec<Box<str>>,
    /// Where it is defined, where somebody asked; not a field of the record.
    #[serde(skip)]
    pub location: Option<Box<Location>>,
    /// Code locations recorded with the result by whoever knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol_addresses: Option<Vec<String>>,
}

/// Where a test is defined, as pytest's `location` has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Location {
    /// Relative to rootdir; not the file of its id for a test that a class inherits.
    pub path: Box<str>,
    /// 0-based; `None` where pytest does not know.
    pub line: Option<u32>,
}

impl TestResult {
    /// Tells where it is defined. The line is the record's only where it is one of the
    /// record's file.
    pub fn locate(&mut self, location: Option<&Location>) {
        let Some(location) = location else { return };
        if self.file_path.as_deref() == Some(&*location.path) {
            self.lineno = location.line.map(|line| line + 1);
        }
        self.location = Some(Box::new(location.clone()));
    }
}

/// One part of a test's story: a phase, a subtest or an earlier attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which attempt of the test this part belongs to, from 1.
    pub attempt: u32,
    /// The phase pytest reported.
    pub when: Phase,
    /// How that part ended, read alone.
    pub outcome: Outcome,
    /// In milliseconds.
    pub duration_ms: f64,
    /// pytest's longrepr as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// pytest's description of the subtest, for a part that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtest: Option<String>,
    /// What pytest could not say of that attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Captured output of an attempt that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<(String, String)>,
    /// Where it failed and with what, or where it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// The reason of an expected failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasxfail: Option<String>,
    /// The worker of an attempt before the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// The end of a run: without it a stream was cut off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunComplete {
    /// `sha256:` and 64 hex digits, see the history module.
    pub run_id: String,
    /// How many tests were requested; the seven outcomes below add up to it.
    pub total: u64,
    /// Tests with outcome `passed`.
    pub passed: u64,
    /// Tests with outcome `failed`.
    pub failed: u64,
    /// Tests with outcome `error`. Files that could not be collected are not tests: see `collection_errors`.
    pub errors: u64,
    /// Tests with outcome `skipped`.
    pub skipped: u64,
    /// Tests with outcome `xfailed`.
    pub xfailed: u64,
    /// Tests with outcome `xpassed`.
    pub xpassed: u64,
    /// Tests with outcome `not_run`.
    pub not_run: u64,
    /// Tests whose attempts did not agree.
    #[serde(default)]
    pub flaky: u64,
    /// Tests with outcome `failed` or `error` that are in quarantine.
    #[serde(default)]
    pub quarantined: u64,
    /// How many tests pytest or a plugin deselected in the collection.
    #[serde(default)]
    pub deselected: u64,
    /// How many files or nodes could not be collected.
    #[serde(default)]
    pub collection_errors: u64,
    /// Wall time of the run, in milliseconds.
    pub duration_ms: f64,
    /// What rpt-run ends with.
    pub exit_code: u8,
}
