//! Owns the command line of rpt-serve.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use rpt::serve::{ServeOptions, Task};

/// Keeps a suite collected, so that its tests start at once.
///
/// Reads requests and writes answers: on stdin and stdout as JSON Lines or msgpack, or with
/// --socket for any number of clients of this user. Each context (a repository, an interpreter, pytest's options, an
/// environment) keeps the process that collected it; runs are forks of that process. Before
/// one is used, everything the collection read is compared with the disk, and what changed
/// is collected again.
#[derive(Parser)]
#[command(name = "rpt-serve", version, after_help = EXAMPLES)]
#[command(group(ArgGroup::new("listens").args(["socket", "detach"]).multiple(true)))]
pub(crate) struct Args {
    /// Listen at PATH [default: serve.sock in $XDG_RUNTIME_DIR/rpt, else in a folder of this
    /// user's own]; with another option: the daemon to speak with
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    socket: Option<Option<PathBuf>>,
    /// Start a daemon in the background; returns when it listens
    #[arg(long, conflicts_with_all = ["status", "stop", "connect"])]
    detach: bool,
    /// Say what the daemon holds
    #[arg(long, conflicts_with_all = ["stop", "connect"])]
    status: bool,
    /// End the daemon, its runs and its interpreters
    #[arg(long, conflicts_with = "connect")]
    stop: bool,
    /// Send the messages on stdin to the daemon, and write its answers to stdout
    #[arg(long)]
    connect: bool,
    /// End when nobody was connected and nothing ran for S seconds
    #[arg(long, value_name = "S", value_parser = span, requires = "listens", conflicts_with_all = ["status", "stop", "connect"])]
    idle_timeout: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  # until nobody needed it for an hour
  rpt-serve --detach --idle-timeout 3600
  # messages and answers, one a line
  echo '{\"type\":\"ping\"}' | rpt-serve --connect
  rpt-serve --status
  rpt-serve --stop

Exit codes:
  0  done
  3  internal error
  4  wrong arguments or a message that is none
  5  no daemon runs";

fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| "seconds, more than 0".to_string())
}

impl From<Args> for ServeOptions {
    fn from(args: Args) -> ServeOptions {
        let task = match &args {
            Args { detach: true, .. } => Task::Detach,
            Args { status: true, .. } => Task::Status,
            Args { stop: true, .. } => Task::Stop,
            Args { connect: true, .. } => Task::Connect,
            Args { socket: Some(_), .. } => Task::Listen,
            Args { .. } => Task::Stdin,
        };
        ServeOptions { task, socket: args.socket.flatten(), idle_timeout: args.idle_timeout }
    }
}
