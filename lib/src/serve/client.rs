//! Owns speaking with a daemon that runs: status, stop, forwarding stdin, and starting one
//! that is left alone.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::LISTENING;
use super::{ServeOptions, Task, own_program};
use crate::cli::{Fault, say};
use crate::exit::Exit;
use crate::link::place;
use crate::link::wire::{Encoding, WireError, frame, read_bare, read_frame, write_bare};

/// The argument by which a detached daemon is started: timeout in milliseconds, or nothing,
/// and the socket's path follow.
pub(crate) const DETACHED: &str = "--detached-daemon";

/// How long a daemon may take to end: its runs are torn down first.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// Starts a daemon that outlives this process; returns when it listens.
pub(crate) fn detach(options: &ServeOptions) -> anyhow::Result<Exit> {
    let path = place::socket_path(options.socket.as_deref())?;
    let timeout = options.idle_timeout.map(|limit| limit.as_millis().to_string()).unwrap_or_default();
    let mut child = Command::new(own_program())
        .args([OsString::from(DETACHED), timeout.into(), path.into_os_string()])
        // It must not keep a folder from being unmounted.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(errors) = child.stderr.take() {
        BufReader::new(errors).read_line(&mut line)?;
    }
    say(line.trim_end());
    if line.starts_with(LISTENING) {
        return Ok(Exit::Ok);
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(Exit::Chosen(code.unwrap_or(Exit::Internal.code())))
}

/// The options that [`detach`] passed on.
pub(crate) fn detached_options(args: &[OsString]) -> anyhow::Result<ServeOptions> {
    let [timeout, path] = args else {
        return Err(Fault::usage(format!("{DETACHED} is for rpt-serve itself: use --detach")).into());
    };
    let timeout = timeout.to_string_lossy();
    let idle_timeout = if timeout.is_empty() { None } else { Some(Duration::from_millis(timeout.parse()?)) };
    Ok(ServeOptions { task: Task::Listen, socket: Some(PathBuf::from(path)), idle_timeout })
}

/// Says what the daemon holds: a record into a pipe, lines for people on a terminal.
pub(crate) fn status(options: &ServeOptions) -> anyhow::Result<Exit> {
    use std::io::IsTerminal;
    let path = place::socket_path(options.socket.as_deref())?;
    let Some(stream) = connected(&path)? else { return Ok(nobody(&path)) };
    let answer = ask(&stream, &json!({"type": "status"}))?;
    let mut out = std::io::stdout().lock();
    if !std::io::stdout().is_terminal() {
        writeln!(out, "{answer}")?;
        return Ok(Exit::Ok);
    }
    let kb = |value: &Value| value.as_u64().map_or("?".to_string(), |kb| format!("{:.1} MB", kb as f64 / 1024.0));
    writeln!(
        out,
        "process {}, rpt {}, for {} s, {} clients, {} runs, {}",
        answer["pid"],
        answer["version"].as_str().unwrap_or_default(),
        answer["uptime_s"],
        answer["connections"],
        answer["runs"],
        kb(&answer["memory_kb"])
    )?;
    for context in answer["contexts"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{}  {}: {}, {} tests, {}",
            context["context_id"].as_str().unwrap_or_default(),
            crate::cli::one_line(context["repo_path"].as_str().unwrap_or_default()),
            context["state"].as_str().unwrap_or_default(),
            context["node_count"],
            kb(&context["server_memory_kb"])
        )?;
        for note in context["not_preloaded"].as_array().into_iter().flatten().filter_map(|note| note.as_str()) {
            writeln!(out, "  not preloaded: {}", crate::cli::one_line(note))?;
        }
    }
    Ok(Exit::Ok)
}

/// Ends the daemon and waits until it is gone.
pub(crate) fn stop(options: &ServeOptions) -> anyhow::Result<Exit> {
    let path = place::socket_path(options.socket.as_deref())?;
    let Some(stream) = connected(&path)? else { return Ok(nobody(&path)) };
    ask(&stream, &json!({"type": "shutdown"}))?;
    let until = Instant::now() + STOP_PATIENCE;
    while !place::is_free(&path) {
        if Instant::now() > until {
            return Err(anyhow::anyhow!("the daemon at {} does not end", path.display()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(Exit::Ok)
}

/// Forwards the messages on stdin to the daemon, and its answers to stdout.
pub(crate) fn connect(options: &ServeOptions) -> anyhow::Result<Exit> {
    let path = place::socket_path(options.socket.as_deref())?;
    let Some(stream) = connected(&path)? else { return Ok(nobody(&path)) };
    let mut source = BufReader::new(std::io::stdin());
    let mut answers = BufReader::new(&stream);
    loop {
        let (message, encoding) = match read_bare(&mut source) {
            Ok(None) => return Ok(Exit::Ok),
            Ok(Some(message)) => message,
            Err(WireError::Broken(why)) => return Err(Fault::usage(format!("stdin: {why}")).into()),
            Err(WireError::Lost(error)) => return Err(error.into()),
        };
        let lost = || anyhow::anyhow!("the daemon at {} ended the connection", path.display());
        (&stream).write_all(&frame(&message, encoding)?).map_err(|_| lost())?;
        let (answer, _) = read_frame(&mut answers).map_err(|_| lost())?.ok_or_else(lost)?;
        write_bare(&mut std::io::stdout().lock(), &answer, encoding)?;
    }
}

/// One question and its answer.
fn ask(stream: &UnixStream, message: &Value) -> anyhow::Result<Value> {
    let mut source = stream;
    source.write_all(&frame(message, Encoding::Json)?)?;
    match read_frame(&mut source) {
        Ok(Some((answer, _))) => Ok(answer),
        Ok(None) => Err(anyhow::anyhow!("the daemon ended the connection")),
        Err(error) => Err(error.into()),
    }
}

fn connected(path: &Path) -> anyhow::Result<Option<UnixStream>> {
    place::connect(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Fault::usage(format!("{}: {error}", path.display())).into(),
        _ => anyhow::Error::from(error).context(path.display().to_string()),
    })
}

fn nobody(path: &Path) -> Exit {
    say(&format!("rpt-serve: no daemon listens at {}; rpt-serve --detach starts one", path.display()));
    Exit::NothingToRun
}
