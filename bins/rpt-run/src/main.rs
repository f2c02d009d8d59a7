//! rpt-run: runs tests through pytest itself, in forked workers.

mod args;
mod care;
mod queue;
mod reports;
mod share;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    let own: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(args) = rpt::watch::inner(&own) {
        let args: Vec<_> = std::iter::once("rpt-run".into()).chain(args.iter().cloned()).collect();
        return rpt::cli::main_with("rpt-run", &args, |args: Args| rpt::watch::watch_inner(&args.into()));
    }
    rpt::cli::main("rpt-run", |args: Args| match args.watch {
        true => rpt::watch::watch(&args.into(), own.into_iter()),
        false => rpt::run::run(&args.into()),
    })
}
