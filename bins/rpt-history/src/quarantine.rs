//! Owns `rpt-history quarantine`: its arguments, and which file is meant.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rpt::cli::{Fault, one_line};
use rpt::exit::Exit;
use rpt::quarantine::{Entry, QuarantineRow, locate, read, write};

use crate::commands::Stdouts;

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Put a test into quarantine, or change its entry
    ///
    /// Reads and writes the file, and writes the entry to stdout.
    #[command(after_help = "Example:
  rpt-history quarantine add tests/test_api.py::test_login \\
    --until 2027-01-31 --owner ann --reason 'a race'")]
    Add {
        /// A test's node id; a file, class or function stands for all its tests
        #[arg(value_name = "NODE")]
        node_id: String,
        /// The last day on which its failure is excused: 2026-12-31
        #[arg(long, value_name = "DATE")]
        until: Date,
        /// Who looks after it
        #[arg(long, value_name = "WHO")]
        owner: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List what is in quarantine, and what was
    ///
    /// Reads the file and writes one record for each entry.
    #[command(after_help = "Example:
  rpt-history quarantine list --format ids")]
    List,
    /// Take tests out
    ///
    /// Reads and writes the file, and writes what is no longer in it to stdout.
    #[command(after_help = "Example:
  rpt-history quarantine remove tests/test_api.py::test_login")]
    Remove {
        /// Ids as they stand in the list
        #[arg(required = true, value_name = "NODE")]
        node_ids: Vec<String>,
    },
}

pub(crate) fn quarantine(mut output: Stdouts, file: Option<PathBuf>, action: Action) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let file = file.unwrap_or_else(|| locate(&cwd));
    let usage = |error: rpt::quarantine::QuarantineError| Fault::usage(error.to_string());
    let mut quarantine = read(&file).map_err(usage)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    match action {
        Action::List => {
            let rows: Vec<_> = quarantine.entries().iter().map(|entry| QuarantineRow::of(entry, today)).collect();
            output.rows(&rows)?;
        }
        Action::Add { node_id, until, owner, reason } => {
            let texts = [("NODE", &node_id), ("--owner", &owner), ("--reason", &reason)];
            if let Some((name, _)) = texts.into_iter().find(|(_, text)| text.trim().is_empty()) {
                return Err(Fault::usage(format!("{name} is empty")).into());
            }
            let entry = Entry { node_id, until, owner, reason };
            if entry.is_expired(today) {
                return Err(Fault::usage(format!("--until {until} has passed already")).into());
            }
            let row = QuarantineRow::of(&entry, today);
            let text = format!("{} is in quarantine until {until} ({})\n", one_line(&entry.node_id), file.display());
            quarantine.put(entry);
            write(&file, &quarantine)?;
            output.one(&row, Some(&row.node_id), &text)?;
        }
        Action::Remove { node_ids } => {
            for node_id in node_ids {
                let Some(entry) = quarantine.take(&node_id) else {
                    return Err(Fault::usage(format!("{}: no entry {node_id:?}", file.display())).into());
                };
                let row = QuarantineRow::of(&entry, today);
                output.one(&row, Some(&row.node_id), &format!("{} is out of quarantine\n", one_line(&node_id)))?;
            }
            write(&file, &quarantine)?;
        }
    }
    output.out.flush()?;
    Ok(Exit::Ok)
}
