//! rpt-run: runs tests through pytest itself, in forked workers.

mod args;
mod care;
mod reports;
mod share;

use std::process::ExitCode;

fn main() -> ExitCode {
    rpt::cli::main("rpt-run", |args: args::Args| rpt::run::run(&args.into()))
}
