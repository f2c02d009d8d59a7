//! Owns the way of results to plugins in the process that controls the run: a pipe of its
//! own and a thread that writes to it, so that a slow plugin never holds up the dispatcher.

use std::io::Write;
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use serde_json::json;

use crate::outcome::Outcome;
use crate::record::TestResult;
use crate::reportlog::of_death;
use crate::server::{ControlWriter, Request, ServerError};

/// The sending end.
pub(super) struct Relay {
    lines: Sender<String>,
    thread: JoinHandle<()>,
}

impl Relay {
    /// Tells the server that reports will come.
    pub(super) fn start(server: &mut ControlWriter) -> Result<Relay, ServerError> {
        let failed = |error: std::io::Error| ServerError::Connection { reason: error.to_string() };
        let (reader, mut writer) = std::io::pipe().map_err(failed)?;
        server.send(&Request::Relay, &[reader.as_fd()])?;
        let (lines, queue) = crossbeam_channel::unbounded::<String>();
        let thread = std::thread::spawn(move || {
            for line in queue {
                // A server that is gone is seen by its end.
                if writer.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Ok(Relay { lines, thread })
    }

    /// A test ended. Of one that did not run there is nothing to hear.
    pub(super) fn result(&self, item: u32, result: &TestResult) {
        let death = (result.reports.is_empty() && result.outcome != Outcome::NotRun).then(|| of_death(result));
        let reports: Vec<&str> = result.reports.iter().map(|report| &**report).chain(death.as_deref()).collect();
        if !reports.is_empty() {
            let worker = json!(result.worker.as_deref().unwrap_or_default());
            self.line(format!("{{\"item\":{item},\"worker\":{worker},\"reports\":[{}]}}\n", reports.join(",")));
        }
    }

    /// A worker ended and its plugins left something, in JSON.
    pub(super) fn worker_output(&self, worker: &str, output: &str) {
        self.line(format!("{{\"ended\":{},\"output\":{output}}}\n", json!(worker)));
    }

    /// Waits until everything is written.
    pub(super) fn finish(self) {
        drop(self.lines);
        // It has nothing to say.
        let _ = self.thread.join();
    }

    fn line(&self, line: String) {
        // The thread ends only with the server.
        let _ = self.lines.send(line);
    }
}
