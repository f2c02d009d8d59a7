//! Owns a listing that needs no Python any more, and what people are told of any.

use std::io::Write;
use std::time::Instant;

use super::{exit_of, form_of};
use crate::cli::{Color, one_line};
use crate::exit::Exit;
use crate::record::{CollectError, Collection, Record, Test};
use crate::stream::{Form, OutputForm, Writer};

/// Tests with everything that is said of them.
pub(super) struct Listing {
    /// `test` records, as JSON Lines.
    pub records: Vec<u8>,
    /// The record that comes last; its duration is not known yet.
    pub collection: Collection,
    /// Files that skipped themselves: path and reason.
    pub skipped_files: Vec<(String, String)>,
    /// Since when it has been looked for.
    pub began: Instant,
}

impl Listing {
    /// Writes it to stdout.
    pub(super) fn write(mut self, output: OutputForm, color: Color) -> anyhow::Result<Exit> {
        let mut writer = Writer::new(std::io::stdout().lock(), form_of(output));
        match form_of(output) {
            Form::Json => writer.write_lines(&self.records)?,
            Form::Msgpack | Form::Ids => {
                for line in self.records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    writer.write(&Record::Test(serde_json::from_slice::<Test>(line)?))?;
                }
            }
        }
        self.collection.duration_ms = crate::rounded_ms(self.began.elapsed().as_secs_f64() * 1000.0);
        writer.write(&Record::Collection(self.collection.clone()))?;
        writer.flush()?;
        drop(writer);
        report(&[], &self.skipped_files, &self.collection, output, color);
        Ok(exit_of(self.collection.errors, self.collection.node_count))
    }
}

/// What people are told, on stderr: errors always, totals with the text view.
pub(super) fn report(
    errors: &[CollectError],
    skipped_files: &[(String, String)],
    collection: &Collection,
    output: OutputForm,
    color: Color,
) {
    let stderr = std::io::stderr();
    let (red, bold, plain) = if color.wanted(&stderr) { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut stderr = stderr.lock();
    let mut say = |line: String| {
        // A stderr that is closed has nobody to tell.
        let _ = writeln!(stderr, "{line}");
    };
    for CollectError { file_path, message } in errors {
        if output == OutputForm::Text {
            say(format!("{red}ERROR collecting {}{plain}\n{message}", one_line(file_path)));
        } else {
            let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            say(format!("rpt-collect: cannot collect {}: {}", one_line(file_path), one_line(last)));
        }
    }
    if output == OutputForm::Text {
        for (file_path, reason) in skipped_files {
            say(format!("SKIPPED {}: {}", one_line(file_path), one_line(reason)));
        }
        say(format!(
            "{bold}{} tests collected{plain}, {} deselected, {} errors in {:.2} s",
            collection.node_count,
            collection.deselected,
            collection.errors,
            collection.duration_ms / 1000.0
        ));
    }
}
