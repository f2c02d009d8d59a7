//! Owns asking a daemon for a warm server on behalf of rpt-run and rpt-collect. It is a
//! saving, never a need: whatever is not as it should be, there is none.

use std::io::{BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place;
use super::wire::{Encoding, frame, read_frame};
use crate::python::Context;

/// What is asked.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    folder: String,
    python: String,
    options: &'a [String],
    /// The client's digest of folder, interpreter and environment.
    place: &'a str,
    wanted: Wanted,
}

/// What a daemon is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A server to run tests with.
    Server,
    /// A listing, kept where rpt-collect looks for it.
    Listing,
}

/// What comes back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    server: Option<PathBuf>,
    listing: bool,
}

/// What a daemon said.
#[derive(Debug)]
pub enum Leased {
    /// Here waits a server that has collected what is on the disk now; and the connection,
    /// which ends with the daemon.
    Server(PathBuf, UnixStream),
    /// What it collected is what is on the disk now, and is kept.
    Listing,
    /// None: no daemon, or it has nothing that could be used.
    Nothing,
    /// The daemon ended while it was asked.
    Died,
}

/// Asks the daemon of this user for a server that collected in `folder` with `python` and
/// pytest's `options`, in this process's environment.
pub fn lease(folder: &Path, python: &Path, options: &[String], wanted: Wanted) -> Leased {
    let Ok(path) = place::socket_path(None) else {
        return Leased::Nothing;
    };
    let Ok(Some(stream)) = place::connect(&path) else {
        return Leased::Nothing;
    };
    let (Some(folder_text), Some(python_text)) = (folder.to_str(), python.to_str()) else {
        return Leased::Nothing;
    };
    let context = Context::new(folder, python, options, std::env::vars_os());
    let asked = Asked {
        kind: "lease",
        folder: folder_text.to_string(),
        python: python_text.to_string(),
        options,
        place: &context.place,
        wanted,
    };
    let sent = frame(&asked, Encoding::Json).and_then(|bytes| (&stream).write_all(&bytes));
    let answer = match sent {
        Ok(()) => read_frame(&mut BufReader::new(&stream)),
        Err(error) => return died(&error),
    };
    match answer {
        Ok(Some((answer, _))) => match serde_json::from_value(answer) {
            Ok(Answered { server: Some(server), .. }) => Leased::Server(server, stream),
            Ok(Answered { listing: true, .. }) => Leased::Listing,
            _ => Leased::Nothing,
        },
        Ok(None) => Leased::Died,
        Err(super::wire::WireError::Lost(error)) => died(&error),
        Err(super::wire::WireError::Broken(_)) => Leased::Died,
    }
}

fn died(error: &std::io::Error) -> Leased {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Leased::Died,
        _ => Leased::Nothing,
    }
}
