//! Owns what pytest's configuration and marks say about time limits, reruns and what
//! tests share, as the shim sends it. The shim's side is `shim/rpt_shim/marks.py`.

use serde::Deserialize;

/// What holds for every test that has no mark of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Seconds a test may take; 0: any time.
    pub timeout: Option<f64>,
    /// The limit is for the call alone.
    pub func_only: bool,
    /// pytest-timeout is installed and acts by itself.
    pub timeout_plugin: bool,
    /// How often a failed test is run again.
    pub reruns: Option<u32>,
    /// Seconds before a rerun.
    pub reruns_delay: Option<f64>,
    /// Only failures that match one of these are run again; all where there are none.
    pub only_rerun: Vec<String>,
    /// pytest-rerunfailures is installed and acts by itself.
    pub rerun_plugin: bool,
}

/// What the marks of one item say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// `timeout(seconds)`; 0: any time.
    pub timeout: Option<f64>,
    /// `timeout(…, func_only=…)`
    pub func_only: Option<bool>,
    /// `flaky(reruns=…)`
    pub reruns: Option<u32>,
    /// `flaky(reruns_delay=…)`
    pub reruns_delay: Option<f64>,
    /// `flaky(only_rerun=…)`
    pub only_rerun: Option<Vec<String>>,
    /// `flaky(rerun_except=…)`
    pub rerun_except: Option<Vec<String>>,
    /// `rpt_uses(name, …)`: resources.
    pub uses: Vec<String>,
    /// `rpt_exclusive(name, …)`: fixtures that one worker has at a time.
    pub exclusive: Vec<String>,
    /// `rpt_serial`: it runs alone.
    pub serial: bool,
    /// A mark of another tool's that cannot be read, and why: it is as if it were not there.
    pub problem: Option<String>,
    /// A mark of rpt's own that says what it cannot say, and what it can.
    pub misuse: Option<String>,
}
