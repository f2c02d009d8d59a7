//! rpt-serve: the daemon that keeps collections warm.

mod args;

use std::process::ExitCode;

use args::Args;
use mimalloc::MiMalloc;

/// A thread for each client and each run: what they free must serve the next ones, or the daemon
/// grows for hours.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let own: Vec<_> = std::env::args_os().skip(1).collect();
    match rpt::serve::inner(&own) {
        Some(inner) => rpt::cli::main_without_args("rpt-serve", || rpt::serve::serve_inner(inner)),
        None => rpt::cli::main("rpt-serve", |args: Args| rpt::serve::serve(&args.into())),
    }
}
