//! Owns the words of the daemon's protocol, version 1: requests and answers, by their exact
//! names. Pure: bytes are `wire`'s affair, and what a request does is `answer`'s.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::link::Wanted;
use crate::record::ShardInfo;

/// The protocol's version.
pub(crate) const VERSION: u32 = 1;

/// By type, the names of its fields in the order in which the positional form has them.
const FIELDS: &[(&str, &[&str])] = &[
    ("init_context", &["protocol_version", "repo_path", "python_path", "execution_mode", "pytest_args", "environment"]),
    ("collect", &["context_id", "force"]),
    ("run", &["context_id", "node_ids", "workers", "maxfail", "timeout_seconds"]),
    ("list", &["context_id", "keyword", "marker"]),
    ("get_inventory", &["context_id"]),
    ("get_worker_status", &["context_id"]),
    ("configure_workers", &["context_id", "num_workers"]),
    ("shutdown", &["context_id"]),
    ("ping", &[]),
    ("run_stream", &["context_id", "node_ids", "workers", "maxfail", "timeout_seconds"]),
    ("get_run_progress", &["context_id", "run_id", "since"]),
    ("get_flakiness_report", &["context_id"]),
    ("get_test_flakiness", &["context_id", "node_id"]),
    ("configure_rerun", &["context_id", "enabled", "max_reruns", "only_flaky", "delay_ms"]),
    ("get_rerun_config", &["context_id"]),
    ("run_with_rerun", &["context_id", "node_ids", "workers", "maxfail", "timeout_seconds"]),
    (
        "configure_fixture_reuse",
        &["context_id", "enabled", "max_age_seconds", "teardown_on_conftest_change", "teardown_on_test_file_change"],
    ),
    ("get_fixture_config", &["context_id"]),
    ("get_session_status", &["context_id"]),
    ("get_shard", &["context_id", "node_ids", "shard_index", "total_shards", "strategy"]),
    ("get_shard_info", &["context_id", "node_ids", "total_shards", "strategy"]),
    ("status", &[]),
    ("lease", &["folder", "python", "options", "place", "wanted"]),
];

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Request {
    InitContext(InitContext),
    Collect {
        context_id: String,
        #[serde(default)]
        force: bool,
    },
    Run(RunRequest),
    List {
        context_id: String,
        #[serde(default)]
        keyword: Option<String>,
        #[serde(default)]
        marker: Option<String>,
    },
    GetInventory {
        context_id: String,
    },
    GetWorkerStatus {
        context_id: String,
    },
    ConfigureWorkers {
        context_id: String,
        num_workers: u32,
    },
    Shutdown {
        #[serde(default)]
        context_id: Option<String>,
    },
    Ping,
    RunStream(RunRequest),
    GetRunProgress {
        context_id: String,
        run_id: String,
        #[serde(default)]
        since: Option<u64>,
    },
    GetFlakinessReport {
        context_id: String,
    },
    GetTestFlakiness {
        context_id: String,
        node_id: String,
    },
    ConfigureRerun {
        context_id: String,
        enabled: bool,
        max_reruns: u32,
        #[serde(default)]
        only_flaky: bool,
        #[serde(default)]
        delay_ms: u32,
    },
    GetRerunConfig {
        context_id: String,
    },
    RunWithRerun(RunRequest),
    ConfigureFixtureReuse {
        context_id: String,
        enabled: bool,
        #[serde(default = "default_age")]
        max_age_seconds: f64,
        #[serde(default = "yes")]
        teardown_on_conftest_change: bool,
        /// Beyond the protocol, which only reports it.
        #[serde(default)]
        teardown_on_test_file_change: bool,
    },
    GetFixtureConfig {
        context_id: String,
    },
    GetSessionStatus {
        context_id: String,
    },
    GetShard {
        context_id: String,
        #[serde(default)]
        node_ids: Vec<String>,
        shard_index: u32,
        total_shards: u32,
        strategy: String,
    },
    GetShardInfo {
        context_id: String,
        #[serde(default)]
        node_ids: Vec<String>,
        total_shards: u32,
        strategy: String,
    },
    /// Beyond the protocol: what the daemon holds.
    Status,
    /// Beyond the protocol: a warm server for rpt-run, or a listing for rpt-collect.
    Lease {
        folder: String,
        python: String,
        options: Vec<String>,
        place: String,
        wanted: Wanted,
    },
}

/// How failed tests are run again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RerunConfig {
    pub enabled: bool,
    /// How often a failed test may be run again.
    pub max_reruns: u32,
    /// Only tests whose history says so.
    pub only_flaky: bool,
    /// How long to wait before.
    pub delay_ms: u32,
}

/// How fixtures are kept alive between runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FixtureConfig {
    pub enabled: bool,
    pub max_fixture_age_seconds: f64,
    /// As soon as one changed; else when the next run needs the new one.
    pub teardown_on_conftest_change: bool,
    /// The same of test files.
    pub teardown_on_test_file_change: bool,
    pub scopes_to_reuse: [&'static str; 2],
}

impl Default for FixtureConfig {
    fn default() -> FixtureConfig {
        FixtureConfig {
            enabled: false,
            max_fixture_age_seconds: default_age(),
            teardown_on_conftest_change: true,
            teardown_on_test_file_change: false,
            scopes_to_reuse: ["session", "package"],
        }
    }
}

fn default_age() -> f64 {
    600.0
}

fn yes() -> bool {
    true
}

/// `init_context`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct InitContext {
    pub protocol_version: u32,
    pub repo_path: String,
    #[serde(default)]
    pub python_path: Option<String>,
    #[serde(default)]
    pub execution_mode: Option<String>,
    /// Beyond the protocol: pytest's own options.
    #[serde(default)]
    pub pytest_args: Option<Vec<String>>,
    /// Beyond the protocol: all variables; else those that the client was started with.
    #[serde(default)]
    pub environment: Option<std::collections::BTreeMap<String, String>>,
}

/// `run` and `run_stream`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RunRequest {
    pub context_id: String,
    #[serde(default)]
    pub node_ids: Vec<String>,
    #[serde(default)]
    pub workers: Option<u32>,
    #[serde(default)]
    pub maxfail: Option<u32>,
    /// Beyond the protocol: the run is broken off when it is not over then.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
}

impl Request {
    /// Reads a message: a map, or in the positional form a list that begins with the type.
    /// `Err`: what is wrong with it.
    pub(crate) fn of(message: Value) -> Result<Request, String> {
        let mut map = match message {
            Value::Object(map) => map,
            Value::Array(fields) => named(fields)?,
            _ => return Err("a message is a map, or a list that begins with its type".to_string()),
        };
        let Some(Value::String(kind)) = map.get("type") else {
            return Err("a message has a field \"type\", a text".to_string());
        };
        fields_of(kind)?;
        // Null is as good as absent.
        map.retain(|_, value| !value.is_null());
        serde_json::from_value(Value::Object(map)).map_err(|error| error.to_string())
    }
}

fn fields_of(kind: &str) -> Result<&'static [&'static str], String> {
    let known = FIELDS.iter().find(|(name, _)| *name == kind);
    known.map(|(_, fields)| *fields).ok_or_else(|| format!("unknown type {:?}", shortened(kind)))
}

/// The positional form as a map. Fields at the end may be left out.
fn named(fields: Vec<Value>) -> Result<Map<String, Value>, String> {
    let mut fields = fields.into_iter();
    let Some(Value::String(kind)) = fields.next() else {
        return Err("a list begins with the type, a text".to_string());
    };
    let names = fields_of(&kind)?;
    if fields.len() > names.len() {
        return Err(format!("{kind} has {} fields, not {}", names.len(), fields.len()));
    }
    let mut map: Map<String, Value> = names.iter().map(ToString::to_string).zip(fields).collect();
    map.insert("type".to_string(), Value::String(kind));
    Ok(map)
}

/// A text that came from outside, as far as an answer repeats it.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}[...]", &text[..end]),
        None => text.to_string(),
    }
}

/// A message whose middle is left out where it is long: what went wrong stands at the begin
/// or at the end.
fn middle_left_out(message: String) -> String {
    const KEPT: usize = 8 << 10;
    if message.len() <= 2 * KEPT {
        return message;
    }
    let boundary =
        |from: usize| (from..message.len()).find(|&at| message.is_char_boundary(at)).unwrap_or(message.len());
    let (begin, end) = (boundary(KEPT), boundary(message.len() - KEPT));
    format!("{}\n[...]\n{}", &message[..begin], &message[end..])
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Response {
    ContextReady {
        protocol_version: u32,
        context_id: String,
        /// Empty before a first collection.
        inventory_hash: String,
    },
    CollectionComplete {
        node_count: u64,
        duration_ms: u64,
    },
    TestList {
        node_ids: Vec<String>,
    },
    InventoryData {
        hash: String,
        /// In milliseconds since the epoch.
        collected_at: u64,
        nodes: Vec<Node>,
    },
    RunComplete(Totals),
    WorkerStatus {
        active_workers: u32,
        idle_workers: u32,
        tests_executed: u64,
        avg_test_duration_ms: u64,
    },
    WorkerConfigAck {
        num_workers: u32,
    },
    ShutdownAck,
    Pong,
    RunStarted {
        run_id: String,
        total_tests: u64,
    },
    RunProgress {
        run_id: String,
        total: u64,
        completed: u64,
        running: u64,
        done: bool,
        results: Vec<Progressed>,
    },
    FlakinessReport {
        /// Tests that passed and failed.
        flaky_tests: Vec<FlakyTest>,
        /// Tests that failed and never passed.
        unstable_tests: Vec<FlakyTest>,
        stable_count: u64,
        total_tracked: u64,
    },
    TestFlakiness {
        node_id: String,
        /// 0 to 1.
        failure_rate: f64,
        is_flaky: bool,
        /// How often it changed between pass and failure.
        flaky_streak: u32,
        consecutive_failures: u32,
        consecutive_passes: u32,
        total_runs: u32,
        /// Newest first.
        recent_outcomes: Vec<&'static str>,
    },
    RerunConfig(RerunConfig),
    FixtureConfig(FixtureConfig),
    SessionStatus(SessionStatus),
    ShardedTests {
        shard_index: u32,
        total_shards: u32,
        node_ids: Vec<String>,
    },
    ShardInfo(ShardInfo),
    ConfigAck {
        config_type: &'static str,
        config: Value,
    },
    /// Beyond the protocol: the answer to `lease`.
    Leased {
        server: Option<PathBuf>,
        listing: bool,
    },
    /// Beyond the protocol: the answer to `status`.
    DaemonStatus(Box<DaemonStatus>),
    Error(Failure),
}

/// Fixtures that are alive between runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SessionStatus {
    /// Empty where none are; then the numbers are 0.
    pub session_id: String,
    pub repo_path: String,
    /// In seconds since the epoch.
    pub created_at: f64,
    /// The same.
    pub last_run_at: f64,
    pub total_runs: u32,
    pub enabled: bool,
    /// Beyond the protocol: why the last run left nothing alive, where it did not.
    pub reason: Option<String>,
    /// Beyond the protocol: what went wrong in the last tear-down.
    pub teardown_error: Option<String>,
}

/// A test with its metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Node {
    pub node_id: String,
    pub file_path: String,
    pub lineno: Option<u32>,
    pub name: String,
    pub class_name: Option<String>,
    pub markers: Vec<String>,
    pub skip: bool,
    pub xfail: bool,
}

/// A test with failures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FlakyTest {
    pub node_id: String,
    pub failure_rate: f64,
    pub flaky_streak: u32,
    pub total_runs: u32,
    pub consecutive_failures: u32,
    pub consecutive_passes: u32,
}

/// A run that is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Totals {
    pub total: u64,
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub errors: u64,
    pub duration_ms: u64,
    pub xfailed: u64,
    pub xpassed: u64,
    pub not_run: u64,
    pub flaky: u64,
}

/// A test that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Progressed {
    pub node_id: String,
    pub outcome: &'static str,
    pub duration_ms: u64,
    pub message: Option<String>,
}

/// What the daemon holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DaemonStatus {
    pub pid: u32,
    pub version: &'static str,
    pub uptime_s: u64,
    pub connections: u64,
    pub runs: u64,
    /// Resident memory of the daemon itself; `None` where the system does not say.
    pub memory_kb: Option<u64>,
    pub contexts: Vec<ContextStatus>,
}

/// One context of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ContextStatus {
    pub context_id: String,
    pub repo_path: String,
    pub python: String,
    pub mode: &'static str,
    /// `new`, `collecting`, `in use`, `warm` or `cold`.
    pub state: &'static str,
    pub node_count: u64,
    /// The process that holds the collection, where one does, and its resident memory.
    pub server_pid: Option<u32>,
    pub server_memory_kb: Option<u64>,
    /// The process that it is a fork of, where one is held.
    pub base_pid: Option<u32>,
    /// What of the project's `preload` that process has not, and why.
    pub not_preloaded: Vec<String>,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub code: Code,
    pub message: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    ContextNotFound,
    CollectionFailed,
    InvalidRequest,
    InternalError,
    Timeout,
    PythonNotFound,
    VersionMismatch,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: middle_left_out(message.into()) }
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Code::InvalidRequest, message)
    }

    /// The daemon, or something it needs, broke.
    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        Failure::new(Code::InternalError, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_say_the_same() {
        for (named, positional) in [
            (json!({"type": "ping"}), json!(["ping"])),
            (json!({"type": "collect", "context_id": "c", "force": true}), json!(["collect", "c", true])),
            (
                json!({"type": "run", "context_id": "c", "node_ids": ["a"], "workers": null, "maxfail": 2}),
                json!(["run", "c", ["a"], null, 2]),
            ),
            (json!({"type": "list", "context_id": "c"}), json!(["list", "c"])),
            (json!({"type": "shutdown"}), json!(["shutdown", null])),
        ] {
            assert_eq!(Request::of(named.clone()).unwrap(), Request::of(positional).unwrap(), "{named}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (message, part) in [
            (json!(5), "a message is a map"),
            (json!({}), "a field \"type\""),
            (json!([]), "begins with the type"),
            (json!({"type": "dance"}), "unknown type \"dance\""),
            (json!({"type": "collect"}), "context_id"),
            (json!({"type": "collect", "context_id": 5}), "expected a string"),
            (json!({"type": "configure_workers", "context_id": "c", "num_workers": -1}), "u32"),
            (json!({"type": "configure_workers", "context_id": "c", "num_workers": 1e300}), "u32"),
            (json!(["ping", 1]), "ping has 0 fields, not 1"),
            (json!({"type": "x".repeat(5000)}), "[...]"),
        ] {
            let error = Request::of(message.clone()).unwrap_err();
            assert!(error.contains(part) && error.len() < 400, "{message}: {error}");
        }
    }

    #[test]
    fn every_type_of_the_table_is_a_request() {
        let wants = json!({"folder": "/", "python": "/", "options": [], "place": "", "wanted": "server", "node_id": "n", "enabled": true, "max_reruns": 1, "strategy": "hash", "total_shards": 1,
            "shard_index": 0, "context_id": "c", "repo_path": "/", "run_id": "r", "num_workers": 1, "protocol_version": 1});
        for (kind, _) in FIELDS {
            let mut message = wants.clone();
            message["type"] = json!(kind);
            assert!(Request::of(message).is_ok(), "{kind}");
        }
    }
}
