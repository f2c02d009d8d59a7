//! Owns a collection from the outside: starts a server, writes what it collected
//! as records, and leaves it waiting for the stage that will run the tests.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::{Color, Format, PytestArgs, one_line};
use crate::exit::Exit;
use crate::interrupt;
use crate::inventory::InventoryHasher;
use crate::python::{Context, find_python};
use crate::record::{CollectError, Collection, Record, Test};
use crate::server::{self, Collected, Launch, Server};
use crate::stream::{Form, OutputForm, Writer};

/// How long a server waits for the next stage: far longer than a pipeline needs
/// to start its next process, short enough that nobody notices it.
const LINGER_SECONDS: u32 = 5;

/// What rpt-collect was asked.
#[derive(Debug)]
pub struct CollectOptions {
    /// What to collect, and how pytest is started.
    pub pytest: PytestArgs,
    /// The form of stdout.
    pub format: Option<Format>,
    /// Colours of the text view.
    pub color: Color,
}

/// Collects and writes records to stdout.
pub fn collect(options: &CollectOptions) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("cannot read the current folder")?;
    let python = find_python(options.pytest.python.as_deref(), &cwd).map_err(crate::cli::as_usage)?;
    let args = options.pytest.collection_args();
    let shape = options.pytest.context_args();
    let launch = Launch { python: &python, args: &args, options: &shape, identity: None, terminal: false };
    let interrupts = interrupt::watch().context("cannot watch for signals")?;
    let mut server = server::start(&launch)?.ready(&interrupts)?;
    drop(interrupts);
    let output = Format::resolve_for_stage(options.format, Form::Json)?;
    let socket = waiting_place(&server, &options.pytest, &cwd, &python);
    let summary = write_all(&mut server, &args, socket.as_deref(), output)?;
    report(&server.collected, output, options.color);
    if output == OutputForm::Text {
        server.end();
    } else {
        hand_on(server, socket);
    }
    Ok(match (summary.errors, summary.node_count) {
        (1.., _) => Exit::Interrupted,
        (0, 0) => Exit::NothingToRun,
        (0, _) => Exit::Ok,
    })
}

/// Writes every record. A reader that goes away is an error of its own kind,
/// and the server ends with it.
fn write_all(
    server: &mut Server,
    args: &[String],
    socket: Option<&Path>,
    output: OutputForm,
) -> anyhow::Result<Collection> {
    let form = match output {
        OutputForm::Records(form) => form,
        OutputForm::Text => Form::Ids,
    };
    let mut writer = Writer::new(std::io::stdout().lock(), form);
    let mut hasher = InventoryHasher::default();
    server.ask_full_items()?;
    while let Some(chunk) = server.reader.chunk::<Test>()? {
        for test in chunk {
            hasher.push(&test);
            writer.write(&Record::Test(test))?;
        }
        writer.flush()?;
    }
    let collected = &server.collected;
    for error in &collected.errors {
        writer.write(&Record::CollectError(error.clone()))?;
    }
    let summary = Collection {
        node_count: collected.count as u64,
        errors: collected.errors.len() as u64,
        deselected: collected.deselected,
        inventory_hash: hasher.finish(),
        duration_ms: crate::rounded_ms(collected.duration_ms),
        pytest_args: args.to_vec(),
        rootdir: collected.rootdir.clone(),
        server: socket.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
    };
    writer.write(&Record::Collection(summary.clone()))?;
    writer.flush()?;
    Ok(summary)
}

/// What people are told, on stderr: errors always, totals with the text view.
fn report(collected: &Collected, output: OutputForm, color: Color) {
    let stderr = std::io::stderr();
    let (red, bold, plain) = if color.wanted(&stderr) { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut stderr = stderr.lock();
    let mut say = |line: String| {
        // A stderr that is closed has nobody to tell.
        let _ = writeln!(stderr, "{line}");
    };
    for CollectError { file_path, message } in &collected.errors {
        if output == OutputForm::Text {
            say(format!("{red}ERROR collecting {}{plain}\n{message}", one_line(file_path)));
        } else {
            let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            say(format!("rpt-collect: cannot collect {}: {}", one_line(file_path), one_line(last)));
        }
    }
    if output == OutputForm::Text {
        for skipped in &collected.skipped_files {
            say(format!("SKIPPED {}: {}", one_line(&skipped.file_path), one_line(&skipped.message)));
        }
        say(format!(
            "{bold}{} tests collected{plain}, {} deselected, {} errors in {:.2} s",
            collected.count,
            collected.deselected,
            collected.errors.len(),
            collected.duration_ms / 1000.0
        ));
    }
}

/// Where the server will wait for rpt-run, if it can wait at all: on a terminal
/// nobody takes over.
fn waiting_place(server: &Server, pytest: &PytestArgs, cwd: &Path, python: &Path) -> Option<PathBuf> {
    let runnable = !std::io::stdout().is_terminal() && server.collected.count > 0;
    let context = Context::new(cwd, python, &pytest.context_args(), std::env::vars_os());
    if runnable { server::socket_path(&context) } else { None }
}

/// Lets the server wait. It is a saving, never a need: where it cannot wait it
/// ends, and rpt-run starts its own.
fn hand_on(mut server: Server, socket: Option<PathBuf>) {
    match socket.map(|path| server.linger(&path, LINGER_SECONDS)) {
        Some(Ok(())) => {}
        Some(Err(_)) | None => server.end(),
    }
}
