//! Owns a collection from the outside: whether one that was kept still holds, else
//! starting a server, writing what it collected as records, keeping that, and leaving
//! the server waiting for the stage that will run the tests.

mod alone;
mod filtered;
mod fresh;
pub(crate) mod held;
mod kept;
mod listing;
mod question;
mod verify;

use crate::cli::{Color, Format, PytestArgs, say};
use crate::exit::Exit;
use crate::link::{self, Leased, Wanted};
use crate::stream::{Form, OutputForm};
use kept::Finding;
pub(crate) use question::Question;

/// What rpt-collect was asked.
#[derive(Debug)]
pub struct CollectOptions {
    /// What to collect, and how pytest is started.
    pub pytest: PytestArgs,
    /// The form of stdout.
    pub format: Option<Format>,
    /// Colours of the text view.
    pub color: Color,
    /// Ask a daemon that runs.
    pub serve: bool,
    /// Collect, whatever was kept.
    pub force: bool,
    /// Compare what was kept with a fresh collection.
    pub verify: bool,
    /// Only say why the suite was collected last.
    pub why: bool,
}

/// Collects and writes records to stdout.
pub fn collect(options: &CollectOptions) -> anyhow::Result<Exit> {
    let question = Question::new(&options.pytest)?;
    if options.verify {
        return verify::verify(&question);
    }
    let output = Format::resolve_for_stage(options.format, Form::Json)?;
    if options.why {
        return kept::why(&question);
    }
    if !options.force
        && let Some(listing) = filtered::look(&question)?
    {
        return listing.write(output, options.color);
    }
    let mut found = kept::look(&question, options.force)?;
    if options.serve && !options.force && !matches!(found, Finding::Holds(_)) && asks_for_all(&question) {
        match link::lease(&question.cwd, &question.python, &question.args, Wanted::Listing) {
            Leased::Listing => found = kept::look(&question, false)?,
            Leased::Died => say("rpt-collect: the daemon ended while it was asked: going on without it"),
            Leased::Server(..) | Leased::Nothing => {}
        }
    }
    let known = match found {
        Finding::Holds(listing) => return listing.write(output, options.color),
        Finding::Part(part) => match alone::collect(&question, &part, output, options.color)? {
            alone::Outcome::Written(exit) => return Ok(exit),
            alone::Outcome::GivenUp(why) => part.known.not_alone(&why),
        },
        Finding::Collect(known) => known,
    };
    fresh::whole(&question, known, output, options.color)
}

/// Whether the whole suite is asked for, as a daemon keeps it.
fn asks_for_all(question: &Question) -> bool {
    let pytest = question.pytest;
    pytest.paths.is_empty() && pytest.keyword.is_none() && pytest.marker.is_none()
}

/// The exit code of a listing.
fn exit_of(errors: u64, tests: u64) -> Exit {
    match (errors, tests) {
        (1.., _) => Exit::Interrupted,
        (0, 0) => Exit::NothingToRun,
        (0, _) => Exit::Ok,
    }
}

/// The form in which records are written; the text view lists ids.
fn form_of(output: OutputForm) -> Form {
    match output {
        OutputForm::Records(form) => form,
        OutputForm::Text => Form::Ids,
    }
}
