//! Owns the options about reports that other programs read.

use std::path::PathBuf;

use clap::Args;
use rpt::junit::Family;
use rpt::run::{OnGitHub, ReportFiles};

#[derive(Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct ReportArgs {
    /// Write a JUnit file, one for all workers; also of a run that is interrupted
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Its form
    #[arg(long, value_enum, default_value_t, requires = "junit")]
    junit_family: Family,
    /// Annotations on stderr and a step's summary for GitHub Actions
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    github: OnGitHub,
    /// Write pytest's own reports, one JSON object a line, as pytest-reportlog does
    #[arg(long, value_name = "FILE")]
    reportlog: Option<PathBuf>,
}

impl From<ReportArgs> for ReportFiles {
    fn from(args: ReportArgs) -> ReportFiles {
        ReportFiles {
            junit: args.junit,
            junit_family: args.junit_family,
            github: args.github,
            reportlog: args.reportlog,
        }
    }
}
