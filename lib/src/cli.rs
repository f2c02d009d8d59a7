//! Owns what all binaries share at their edges: how arguments are parsed, how an
//! error is printed and which exit code it has, colour, and the output form.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::exit::Exit;
use crate::interrupt::Interrupted;
use crate::stream::{Form, OutputForm, StreamError};

/// How pytest is started: what rpt-collect and rpt-run take alike.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PytestArgs {
    /// Files, folders or node ids, as for pytest
    #[arg(value_name = "PATH|NODE_ID")]
    pub paths: Vec<String>,
    /// Only tests whose names match the expression, as for pytest
    #[arg(short = 'k', value_name = "EXPR")]
    pub keyword: Option<String>,
    /// Only tests whose marks match the expression, as for pytest
    #[arg(short = 'm', value_name = "EXPR")]
    pub marker: Option<String>,
    /// The interpreter [default: RPT_PYTHON, VIRTUAL_ENV, .venv here or above, python3]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// pytest's rootdir
    #[arg(long, value_name = "DIR")]
    pub rootdir: Option<String>,
    /// Everything after -- goes to pytest unchanged
    #[arg(last = true, value_name = "PYTEST_ARGS")]
    pub pytest_args: Vec<String>,
}

impl PytestArgs {
    /// The options that shape every process of a pipeline: rootdir and what came after `--`.
    pub fn context_args(&self) -> Vec<String> {
        let rootdir = self.rootdir.iter().map(|folder| format!("--rootdir={folder}"));
        rootdir.chain(self.pytest_args.iter().cloned()).collect()
    }

    /// All of pytest's arguments for a collection.
    pub fn collection_args(&self) -> Vec<String> {
        let mut args = self.context_args();
        args.extend(self.filter_args());
        args.extend(self.paths.iter().cloned());
        args
    }

    /// `-k` and `-m`, where they were given.
    pub fn filter_args(&self) -> Vec<String> {
        let filters = [("-k", &self.keyword), ("-m", &self.marker)];
        let given = filters.into_iter().filter_map(|(option, value)| Some([option.to_string(), value.clone()?]));
        given.flatten().collect()
    }
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// One msgpack map after another.
    Msgpack,
    /// Plain node ids, one a line.
    Ids,
    /// For people.
    Text,
}

/// The environment's name for [`Format`].
const FORMAT_VARIABLE: &str = "RPT_FORMAT";

impl Format {
    /// The form of stdout: as `--format` says, else as `RPT_FORMAT` says, else text
    /// for a terminal, else `piped`.
    pub fn resolve(flag: Option<Format>, piped: Form) -> Result<OutputForm, Fault> {
        Ok(form_of(flag.or(Format::of_environment()?), piped))
    }

    /// As [`Format::resolve`] for a stage of a pipeline: the next stage cannot read
    /// text, so that only the flag makes one write it into a pipe. `RPT_FORMAT=text`
    /// asks for what a terminal gets anyway.
    pub fn resolve_for_stage(flag: Option<Format>, piped: Form) -> Result<OutputForm, Fault> {
        let everywhere = Format::of_environment()?.filter(|format| *format != Format::Text);
        Ok(form_of(flag.or(everywhere), piped))
    }

    fn of_environment() -> Result<Option<Format>, Fault> {
        let Some(name) = std::env::var_os(FORMAT_VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let name = name.to_string_lossy();
        Format::from_str(&name, false).map(Some).map_err(|_| {
            Fault::usage(format!("{name:?} (from {FORMAT_VARIABLE}) is no format: json, msgpack, ids or text"))
        })
    }
}

fn form_of(asked: Option<Format>, piped: Form) -> OutputForm {
    match asked {
        Some(Format::Json) => OutputForm::Records(Form::Json),
        Some(Format::Msgpack) => OutputForm::Records(Form::Msgpack),
        Some(Format::Ids) => OutputForm::Records(Form::Ids),
        Some(Format::Text) => OutputForm::Text,
        None if std::io::stdout().is_terminal() => OutputForm::Text,
        None => OutputForm::Records(piped),
    }
}

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into a pipe.
    Always,
    /// Not even on a terminal.
    Never,
}

impl Color {
    /// Whether text for `stream` is coloured (<https://no-color.org>, and FORCE_COLOR as pytest reads it).
    pub fn wanted(self, stream: &impl IsTerminal) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR") => false,
            Color::Auto if set("FORCE_COLOR") => true,
            Color::Auto => stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// A fault with the exit code it means. Wrap one around an error to choose its code.
#[derive(Debug)]
pub struct Fault {
    exit: Exit,
    text: String,
}

impl Fault {
    /// Wrong arguments or input: exit 4.
    pub fn usage(text: impl Into<String>) -> Fault {
        Fault { exit: Exit::Usage, text: text.into() }
    }

    /// Nothing to do: exit 5.
    pub fn nothing_to_run(text: impl Into<String>) -> Fault {
        Fault { exit: Exit::NothingToRun, text: text.into() }
    }

    /// With a code of its own.
    pub fn with_exit(exit: Exit, text: impl Into<String>) -> Fault {
        Fault { exit, text: text.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// Turns a library's error into wrong arguments: exit 4.
pub fn as_usage(error: impl std::error::Error) -> Fault {
    Fault::usage(error.to_string())
}

/// Parses the arguments, runs `body`, prints an error as one line
/// `name: what: why` and turns it into its exit code. A reader that closed
/// stdout ends the process quietly.
pub fn main<Args: clap::Parser>(name: &str, body: impl FnOnce(Args) -> anyhow::Result<Exit>) -> ExitCode {
    main_with(name, &std::env::args_os().collect::<Vec<_>>(), body)
}

/// The same with other arguments than this process was started with; the first one is its name.
pub fn main_with<Args: clap::Parser>(
    name: &str,
    args: &[OsString],
    body: impl FnOnce(Args) -> anyhow::Result<Exit>,
) -> ExitCode {
    if let Some(kind) = crate::generated::asked(args.iter().cloned()) {
        let written = crate::generated::write::<Args>(name, &kind, &mut std::io::stdout().lock());
        return match written {
            Ok(()) => Exit::Ok.into(),
            Err(error) => {
                say(&format!("{name}: {error}"));
                Exit::Usage.into()
            }
        };
    }
    let mut command = crate::generated::with_option(Args::command());
    let parsed = command.try_get_matches_from_mut(args);
    let args = match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => return parse_failure(name, &error.format(&mut command)),
    };
    main_without_args(name, || body(args))
}

/// The same for a process whose arguments are no matter of people's.
pub fn main_without_args(name: &str, body: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    match body() {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            say(&format!("{name}: {}", one_line(&format!("{error:#}"))));
            exit_of(&error).into()
        }
    }
}

/// Help and version go to stdout with 0; a wrong argument is one line and exit 4, as in pytest.
fn parse_failure(name: &str, error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A terminal that went away cannot be told anything.
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
    }
    let text = error.render().to_string();
    // What is wrong, then hints; the usage at the end is a --help away.
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    say(&format!("{name}: {} (see {name} --help)", one_line(said.strip_prefix("error: ").unwrap_or(&said))));
    Exit::Usage.into()
}

/// The exit code that an error means.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return fault.exit;
        }
        if cause.is::<Interrupted>() {
            return Exit::Interrupted;
        }
        match cause.downcast_ref::<StreamError>() {
            Some(StreamError::Write(_)) => return Exit::Internal,
            Some(_) => return Exit::Usage,
            None => {}
        }
    }
    Exit::Internal
}

/// Whether the error is a reader that went away.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe))
}

/// Says a line on stderr. A terminal that went away cannot be told anything, and that
/// is no reason to break.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Control characters would let an id or a path move the cursor: they are shown
/// escaped; line breaks of a library's message become spaces.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        match character {
            '\n' => line.push(' '),
            control if control.is_control() => line.extend(control.escape_default()),
            other => line.push(other),
        }
    }
    line
}
