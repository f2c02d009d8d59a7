//! Owns the lines a worker writes on its result pipe. The shim's side is
//! `shim/rpt_shim/worker.py`.

use serde_json::value::RawValue;

use crate::outcome::PhaseReport;
use crate::server::Warning;

/// One line, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// The item begins.
    Start { item: u32 },
    /// What fixtures of module and of session scope took of the item that ends next, in seconds.
    SetUp { module_s: f64, session_s: f64 },
    /// The item passed with nothing more to say.
    Pass { item: u32, started_at: f64, duration_s: f64 },
    /// The item ended, and this is what pytest reported of it.
    Test { item: u32, started_at: f64, reports: Vec<PhaseReport> },
    /// The item interrupted the session: `pytest.exit` or KeyboardInterrupt.
    Interrupt { item: u32, started_at: f64, reports: Vec<PhaseReport>, reason: String, exit_code: Option<i64> },
    /// pytest's own reports of the item, serialised; its result follows.
    Reports { item: u32, reports: Vec<Box<str>> },
    /// What the worker's plugins leave for the process that controls the run, in JSON.
    Output(Box<str>),
    /// What the item left behind; its reports follow.
    Leaks { leaks: Vec<String> },
    /// A hook broke while the item ran.
    InternalError { item: u32, traceback: String },
    /// The session wants no more items: at enough failures, or because a plugin said so.
    Stop { failures: bool, reason: String },
    /// pytest recorded a warning.
    Warning(Warning),
    /// How many items took the full protocol, and why; without a reason: the light one.
    Protocol(Vec<(Option<String>, u64)>),
    /// How long the worker waited for items, in seconds, before the first and after the last too.
    Waited { seconds: f64 },
    /// The session ended with this exit code of pytest's.
    Finish { exit_code: i64 },
    /// All that the process still does is end, with this exit code; it started nothing that is left.
    Gone { exit_code: i32 },
}

impl Message {
    /// The item whose end this is, as the worker counts.
    pub(super) fn reports_on(&self) -> Option<u32> {
        match self {
            Message::Pass { item, .. }
            | Message::Test { item, .. }
            | Message::Reports { item, .. }
            | Message::Interrupt { item, .. }
            | Message::InternalError { item, .. } => Some(*item),
            _ => None,
        }
    }
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Message, serde_json::Error> {
    let tag = line.strip_prefix(b"[\"").and_then(|rest| rest.split(|&byte| byte == b'"').next()).unwrap_or_default();
    let from = serde_json::from_slice::<serde_json::Value>;
    Ok(match tag {
        b"start" => {
            let (_, item): (&str, u32) = serde_json::from_slice(line)?;
            Message::Start { item }
        }
        b"set_up" => {
            let (_, module_s, session_s): (&str, f64, f64) = serde_json::from_slice(line)?;
            Message::SetUp { module_s, session_s }
        }
        b"pass" => {
            let (_, item, started_at, duration_s): (&str, u32, f64, f64) = serde_json::from_slice(line)?;
            Message::Pass { item, started_at, duration_s }
        }
        b"test" => {
            let (_, item, started_at, reports): (&str, u32, f64, Vec<PhaseReport>) = serde_json::from_slice(line)?;
            Message::Test { item, started_at, reports }
        }
        b"interrupt" => {
            let (_, item, started_at, reports, reason, exit_code): (
                &str,
                u32,
                f64,
                Vec<PhaseReport>,
                String,
                Option<i64>,
            ) = serde_json::from_slice(line)?;
            Message::Interrupt { item, started_at, reports, reason, exit_code }
        }
        b"leaks" => {
            let (_, _, leaks): (&str, u32, Vec<String>) = serde_json::from_slice(line)?;
            Message::Leaks { leaks }
        }
        b"reports" => {
            let (_, item, reports): (&str, u32, Vec<&RawValue>) = serde_json::from_slice(line)?;
            Message::Reports { item, reports: reports.into_iter().map(|report| report.get().into()).collect() }
        }
        b"output" => {
            let (_, output): (&str, &RawValue) = serde_json::from_slice(line)?;
            Message::Output(output.get().into())
        }
        b"internal_error" => {
            let (_, item, traceback): (&str, u32, String) = serde_json::from_slice(line)?;
            Message::InternalError { item, traceback }
        }
        b"stop" => {
            let (_, failures, reason): (&str, bool, String) = serde_json::from_slice(line)?;
            Message::Stop { failures, reason }
        }
        b"warning" => {
            let (_, warning): (&str, Warning) = serde_json::from_slice(line)?;
            Message::Warning(warning)
        }
        b"protocol" => {
            let (_, took): (&str, Vec<(Option<String>, u64)>) = serde_json::from_slice(line)?;
            Message::Protocol(took)
        }
        b"waited" => {
            let (_, seconds): (&str, f64) = serde_json::from_slice(line)?;
            Message::Waited { seconds }
        }
        b"finish" => {
            let (_, exit_code): (&str, i64) = serde_json::from_slice(line)?;
            Message::Finish { exit_code }
        }
        b"gone" => {
            let (_, exit_code): (&str, i32) = serde_json::from_slice(line)?;
            Message::Gone { exit_code }
        }
        _ => return Err(serde::de::Error::custom(format!("unknown message {:?}", from(line)?))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_shim() {
        assert_eq!(parse(b"[\"start\",7]").unwrap(), Message::Start { item: 7 });
        let pass = parse(b"[\"pass\",7,1700000000.5,0.000123]").unwrap();
        assert_eq!(pass, Message::Pass { item: 7, started_at: 1_700_000_000.5, duration_s: 0.000_123 });
        assert_eq!(parse(b"[\"waited\",0.25]").unwrap(), Message::Waited { seconds: 0.25 });
        let set_up = parse(b"[\"set_up\",0.5,2.0]").unwrap();
        assert_eq!(set_up, Message::SetUp { module_s: 0.5, session_s: 2.0 });
        let interrupt = parse(b"[\"interrupt\",7,1.5,[],\"pytest.exit: enough\",null]").unwrap();
        let reason = "pytest.exit: enough".to_string();
        assert_eq!(
            interrupt,
            Message::Interrupt { item: 7, started_at: 1.5, reports: vec![], reason, exit_code: None }
        );
        let leaks = vec!["umask 077".to_string()];
        assert_eq!(parse(b"[\"leaks\",7,[\"umask 077\"]]").unwrap(), Message::Leaks { leaks });
        assert_eq!(parse(b"[\"gone\",1]").unwrap(), Message::Gone { exit_code: 1 });
        assert!(parse(b"[\"passed\",7]").is_err());
        assert!(parse(b"[\"pass\",7]").is_err());
        assert!(parse(b"").is_err());
    }
}
