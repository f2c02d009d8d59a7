//! Owns the options about reports that other programs read.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use rpt::junit::Family;
use rpt::report::{Show, Tb, letters};
use rpt::run::{OnGitHub, ReportFiles};

#[derive(Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct ReportArgs {
    /// Write a JUnit file, one for all workers; also of a run that is interrupted
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Its form
    #[arg(long, value_enum, default_value_t, value_name = "FAMILY", requires = "junit")]
    junit_family: Family,
    /// Annotations on stderr and a step's summary for GitHub Actions
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    github: OnGitHub,
    /// Write pytest's own reports, one JSON object a line, as pytest-reportlog does
    #[arg(long, value_name = "FILE")]
    reportlog: Option<PathBuf>,
    /// Write what each failing test said and printed to a file of its own in this folder
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Run plain pytest, too, and compare ids and outcomes one by one: exit code 1 if any differ
    #[arg(long, conflicts_with_all = ["exitfirst", "maxfail"])]
    verify: bool,
    #[command(flatten)]
    show: ShowArgs,
}

/// pytest's own options about what people see.
#[derive(Args)]
#[command(next_help_heading = "Reports")]
struct ShowArgs {
    /// A line for each test, and assertions at greater length; twice: in full
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// No progress and a bare last line; twice: no summary
    #[arg(short = 'q', action = ArgAction::Count)]
    brief: u8,
    /// Which outcomes the summary lists, by pytest's letters: f E s x X p w, a and A for all, N for none
    #[arg(short = 'r', value_name = "CHARS", default_value = "fE", value_parser = letters)]
    letters: String,
    /// How tracebacks are written [default: as pytest is configured]
    #[arg(long, value_enum, value_name = "STYLE")]
    tb: Option<Tb>,
    /// List the N slowest tests; 0 for all
    #[arg(long, value_name = "N")]
    durations: Option<usize>,
    /// Only those that took S seconds
    #[arg(long, value_name = "S", default_value_t = 0.005, requires = "durations")]
    durations_min: f64,
}

impl ReportArgs {
    pub(crate) fn show(&self) -> Show {
        let show = &self.show;
        Show {
            verbose: show.verbose,
            brief: show.brief,
            letters: show.letters.clone(),
            tb: show.tb,
            durations: show.durations,
            durations_min: show.durations_min,
        }
    }
}

impl From<ReportArgs> for ReportFiles {
    fn from(args: ReportArgs) -> ReportFiles {
        ReportFiles {
            junit: args.junit,
            junit_family: args.junit_family,
            github: args.github,
            reportlog: args.reportlog,
            output_dir: args.output_dir,
            verify: args.verify,
        }
    }
}
