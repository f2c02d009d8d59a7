//! Owns whether a collection that was kept still holds, and saying why the last one
//! did not. Starts no Python.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::filtered;
use super::listing::Listing;
use super::question::Question;
use crate::exit::Exit;
use crate::inventory::partial::{alone, takes_folders};
use crate::inventory::snapshot::{Head, Selectors, Trust};
use crate::inventory::store::{self, Stored};
use crate::record::Collection;

/// How many reasons are kept and told.
const MAX_REASONS: usize = 20;

/// What looking gave.
pub(super) enum Finding {
    /// It holds.
    Holds(Listing),
    /// A few files may be collected alone.
    Part(Part),
    /// It must be collected.
    Collect(Known),
}

/// What collecting a few files alone needs.
pub(super) struct Part {
    /// The last collection.
    pub known: Known,
    /// The files, relative to rootdir.
    pub files: Vec<String>,
    /// The records of the last collection.
    pub records: Arc<Vec<u8>>,
    /// Its selectors.
    pub selectors: Arc<Selectors>,
}

/// What is known of the last collection when another one begins.
#[derive(Default)]
pub(super) struct Known {
    /// The last one.
    pub before: Option<Head>,
    /// None of its inputs changed.
    pub same_inputs: bool,
    /// Why it must be collected again.
    pub reasons: Vec<String>,
}

impl Known {
    /// Says as well why the changed files could not be collected alone.
    pub(super) fn not_alone(mut self, why: &str) -> Known {
        let rootdir = self.before.as_ref().map_or("", |head| &head.rootdir);
        self.reasons.push(shown(&format!("not alone: {why}"), rootdir));
        self
    }
}

/// Looks for a collection that holds.
pub(super) fn look(question: &Question, force: bool) -> anyhow::Result<Finding> {
    let began = Instant::now();
    let Some(mut stored) = store::find(&question.roots, &question.key) else {
        return Ok(Finding::Collect(Known { reasons: never_collected(question), ..Known::default() }));
    };
    let mut head = stored.head.clone();
    let comparison = head.dependencies.compare(&question.environment);
    let mut known = Known { same_inputs: comparison.changes.is_empty(), ..Known::default() };
    known.reasons = if force {
        vec!["--force".to_string()]
    } else if known.same_inputs {
        doubts(&head)
    } else {
        let changes = comparison.changes.iter().map(|change| shown(&change.to_string(), &head.rootdir));
        changes.take(MAX_REASONS).collect()
    };
    if known.reasons.is_empty() {
        match stored.records() {
            Some(records) => {
                if comparison.touched {
                    // It is a saving for the next time, never a need.
                    let _ = stored.write_head(&head);
                }
                stored.mark_used();
                return Ok(Finding::Holds(listing_of(head, records, began)));
            }
            None => known.reasons.push(format!("{} is damaged", stored.path.display())),
        }
    }
    let files = if force || !is_unfiltered(question) { None } else { alone(&head, &comparison.changes) };
    known.before = Some(head);
    if let Some(files) = files
        && let Some((records, selectors)) = stored.records().zip(stored.selectors())
    {
        let (records, selectors) = (Arc::new(records), Arc::new(selectors));
        return Ok(Finding::Part(Part { known, files, records, selectors }));
    }
    Ok(Finding::Collect(known))
}

/// Whether all that is in some folders is asked for.
fn is_unfiltered(question: &Question) -> bool {
    question.pytest.keyword.is_none()
        && question.pytest.marker.is_none()
        && takes_folders(&question.args, &question.cwd)
}

/// Why an unchanged collection does not stand for another; nothing: it does.
fn doubts(head: &Head) -> Vec<String> {
    match &head.trust {
        _ if head.is_trusted() => Vec::new(),
        Trust::Proven => Vec::new(),
        Trust::Doubtful(why) => vec![format!("a second collection must agree with the first, because {why}")],
        Trust::Unproven(why) => vec![why.clone()],
        Trust::Volatile(file) => vec![format!("two collections of the same files differed in {file}")],
    }
}

fn never_collected(question: &Question) -> Vec<String> {
    let Some(other) = store::find_other_environment(&question.roots, &question.key) else {
        return vec!["nothing is kept of such a collection".to_string()];
    };
    let (old, new) = (&other.dependencies.environment, &question.environment);
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing.take(MAX_REASONS).map(|name| format!("the environment variable {name} changed")).collect()
}

/// A reason with paths relative to rootdir.
fn shown(reason: &str, rootdir: &str) -> String {
    reason.replace(&format!("{}/", rootdir.trim_end_matches('/')), "")
}

pub(super) fn listing_of(head: Head, records: Vec<u8>, began: Instant) -> Listing {
    Listing {
        records,
        collection: Collection {
            node_count: head.node_count,
            errors: 0,
            deselected: head.deselected,
            inventory_hash: head.inventory_hash,
            duration_ms: 0.0,
            pytest_args: head.pytest_args,
            rootdir: head.rootdir,
            server: None,
            kept: Some(head.kept),
        },
        skipped_files: head.skipped_files,
        began,
    }
}

/// Says when and why the suite was collected last, and what a collection now would do.
pub(super) fn why(question: &Question) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    if filtered::look(question)?.is_some() {
        writeln!(out, "now: nothing is collected, -k and -m are answered from the listing without them")?;
        return Ok(Exit::Ok);
    }
    let Some(Stored { head, .. }) = store::find(&question.roots, &question.key) else {
        writeln!(out, "now: everything is collected")?;
        for reason in never_collected(question) {
            writeln!(out, "  {reason}")?;
        }
        return Ok(Exit::Ok);
    };
    let at = jiff::Timestamp::from_second(head.last.at).map_or_else(|_| "?".to_string(), |time| time.to_string());
    let what = match &head.last.alone[..] {
        [] => "everything was collected".to_string(),
        alone => format!("collected alone: {}", alone.join(", ")),
    };
    writeln!(out, "last, {at}: {what}, in {:.2} s", head.last.took_ms / 1000.0)?;
    for reason in &head.last.reasons {
        writeln!(out, "  {reason}")?;
    }
    let (now, reasons) = match look(question, false)? {
        Finding::Holds(_) => ("nothing is collected, it holds".to_string(), Vec::new()),
        Finding::Part(part) => (format!("collected alone: {}", part.files.join(", ")), part.known.reasons),
        Finding::Collect(known) => ("everything is collected".to_string(), known.reasons),
    };
    writeln!(out, "now: {now}")?;
    for reason in reasons {
        writeln!(out, "  {reason}")?;
    }
    Ok(Exit::Ok)
}

/// The path as it is shown: relative to `rootdir` where it lies below.
pub(super) fn shown_path(path: &str, rootdir: &str) -> String {
    Path::new(path).strip_prefix(rootdir).map_or_else(|_| path.to_string(), |below| below.display().to_string())
}
