//! Owns the end of a run: what it ends with, and the completion of record, history,
//! files and report.

use std::time::Instant;

use anyhow::Context as _;

use super::dispatcher::Outcomes;
use super::request::Request;
use super::sinks::{Ended, Sinks};
use super::{Run, give_not_run, request, verify};
use crate::cli::{as_usage, one_line};
use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::python::find_python;
use crate::record::RunComplete;
use crate::report::End;
use crate::rounded_ms;
use crate::tally::{Ending, Tally, exit_code};

impl Run<'_> {
    /// Nothing asked for exists, or nothing was asked for: no Python is needed to say
    /// so. Or it was interrupted before it had collected.
    pub(super) fn without_server(
        &mut self,
        request: &Request,
        interrupted: Option<String>,
        began: Instant,
    ) -> anyhow::Result<Exit> {
        let ids = request.ids.as_deref().unwrap_or_else(|| {
            // Nothing is known of this run that could be remembered.
            self.store = None;
            &[]
        });
        let (ending, cause) = match interrupted {
            Some(reason) => (Ending::Interrupted { reason: reason.clone(), exit_code: None }, reason),
            None => (self.ending_before(false), "not found".to_string()),
        };
        let mut sinks = self.sinks(ids.len() as u64);
        if matches!(ending, Ending::Interrupted { .. }) {
            self.say_if_quiet(&cause, &mut sinks);
        }
        let mut tally = Tally::default();
        give_not_run(ids, &cause, &mut tally, &mut sinks);
        self.finish(sinks, Outcomes::without_plan(tally, ending), began)
    }

    /// Why nothing was run is said even where there is no report that says so.
    pub(super) fn say_if_quiet(&self, reason: &str, sinks: &mut Sinks) {
        if self.options.quiet {
            sinks.report.note(reason);
        }
    }

    /// What the run ends with, as far as tests decide.
    pub(super) fn exit(&self, outcomes: &Outcomes) -> Exit {
        let Outcomes { tally, ending, .. } = outcomes;
        let mut also_bad = if *ending == Ending::CollectionFailed { 0 } else { self.collect_errors.len() as u64 };
        if self.options.care.flaky_fails {
            also_bad += tally.flaky();
        }
        exit_code(ending, tally, also_bad, self.empty_is_fine)
    }

    /// Whether plain pytest says the same of every test. Differences are told.
    fn verified(&self, ours: &verify::Outcomes, sinks: &mut Sinks) -> anyhow::Result<bool> {
        let cwd = std::env::current_dir().context("cannot read the current folder")?;
        let python = find_python(self.options.pytest.python.as_deref(), &cwd).map_err(as_usage)?;
        let mut args = self.plain_args.clone();
        args.extend(self.options.pytest.filter_args());
        args.extend(self.paths.iter().cloned());
        sinks.report.note("verifying: plain pytest runs the same tests");
        let theirs = verify::plain(&python, &args)?;
        let differences = verify::differences(ours, &theirs, self.asked_for_all);
        if differences.is_empty() {
            let tests: usize = ours.values().map(Vec::len).sum();
            let text = format!("verified: {tests} tests, the same ids and outcomes as plain pytest");
            sinks.report.last_word(text);
        } else {
            sinks.report.last_word(format!("{} differences to plain pytest:", differences.len()));
            differences.iter().for_each(|line| sinks.report.last_word(one_line(line)));
        }
        Ok(differences.is_empty())
    }

    /// Completes the record, the history and the report.
    pub(super) fn finish(&mut self, mut sinks: Sinks, outcomes: Outcomes, began: Instant) -> anyhow::Result<Exit> {
        let exit = match (self.exit(&outcomes), self.overruled) {
            // Plugins may turn a success into a failure (coverage that is too low), and may break.
            (exit, Some(code)) if code == Exit::Internal.code() && exit != Exit::Interrupted => Exit::Internal,
            (Exit::Ok, Some(code)) if code != 0 => Exit::Chosen(code),
            (exit, _) => exit,
        };
        let mut exit = exit;
        if let (Some(ours), Exit::Ok | Exit::TestsFailed | Exit::Interrupted) = (sinks.files.take_outcomes(), exit)
            && !matches!(outcomes.ending, Ending::Interrupted { .. })
            && !self.verified(&ours, &mut sinks)?
        {
            exit = Exit::TestsFailed;
        }
        let Outcomes { tally, ending, .. } = outcomes;
        let mut totals = RunComplete {
            run_id: String::new(),
            total: tally.total(),
            passed: tally.of(Outcome::Passed),
            failed: tally.of(Outcome::Failed),
            errors: tally.of(Outcome::Error),
            skipped: tally.of(Outcome::Skipped),
            xfailed: tally.of(Outcome::Xfailed),
            xpassed: tally.of(Outcome::Xpassed),
            not_run: tally.of(Outcome::NotRun),
            flaky: tally.flaky(),
            quarantined: tally.quarantined(),
            deselected: self.deselected,
            collection_errors: self.collect_errors.len() as u64,
            duration_ms: rounded_ms(began.elapsed().as_secs_f64() * 1000.0),
            exit_code: exit.code(),
        };
        let interrupted = matches!(ending, Ending::Interrupted { .. });
        for warning in sinks.remember(&mut totals, &self.head, interrupted) {
            sinks.report.last_word(warning);
        }
        let ended = Ended {
            head: &self.head,
            totals: &totals,
            collect_errors: &self.collect_errors,
            skipped_files: &self.skipped_files,
        };
        let unwritten = sinks.files.finish(&ended);
        let exit = if unwritten.is_empty() { exit } else { Exit::Internal };
        totals.exit_code = exit.code();
        unwritten.into_iter().for_each(|problem| sinks.report.last_word(problem));
        sinks.complete(self.head.shard.clone(), totals);
        if !self.options.pytest.paths.is_empty() && request::left_on_stdin() {
            let text = "what came on stdin was not read, because the arguments say what to run";
            sinks.report.last_word(text.to_string());
        }
        if let Some(error) = &sinks.write_error {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            sinks.report.last_word(format!("{error}{cause}"));
        }
        let end = End {
            tally: &tally,
            ending: &ending,
            collect_errors: &self.collect_errors,
            skipped_files: &self.skipped_files,
            deselected: self.deselected,
        };
        let shown = sinks.report.finish(&end);
        sinks.files.annotate();
        // A run whose reader went away must not look passed.
        Ok(if (sinks.reader_gone || !shown) && exit == Exit::Ok { Exit::Interrupted } else { exit })
    }
}
