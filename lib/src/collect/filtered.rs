//! Owns answering `-k` and `-m` from a kept collection that was made without them.

use std::time::Instant;

use serde::Deserialize;

use super::listing::Listing;
use super::question::Question;
use crate::cli::{Fault, PytestArgs};
use crate::expression::{Dialect, Expression, Flag, Refusal};
use crate::inventory::InventoryHasher;
use crate::inventory::snapshot::{Head, Selectors};
use crate::inventory::store::{self, Key};
use crate::record::{Collection, Test};

/// The tests that `-k` and `-m` leave of the collection without them, where that was
/// kept, holds, and is all that decides; else `None`: pytest must be asked.
pub(super) fn look(question: &Question) -> anyhow::Result<Option<Listing>> {
    let began = Instant::now();
    let pytest = question.pytest;
    if pytest.keyword.is_none() && pytest.marker.is_none() {
        return Ok(None);
    }
    let mut args = pytest.context_args();
    args.extend(pytest.paths.iter().cloned());
    let key = Key::new(&question.cwd, &question.python, &args, &question.environment);
    let Some(mut stored) = store::find(&question.roots, &key) else {
        return Ok(None);
    };
    let mut head = stored.head.clone();
    let holds = is_alone(&head, pytest)
        && head.is_trusted()
        && head.dependencies.compare(&question.environment).changes.is_empty();
    let sections = if holds { stored.records().zip(stored.selectors()) } else { None };
    let Some((records, selectors)) = sections else {
        return Ok(None);
    };
    stored.mark_used();
    match select(&head, &records, &selectors, pytest.keyword.as_deref(), pytest.marker.as_deref()) {
        Ok(selected) => Ok(Some(listing_of(question, head, selected, began)?)),
        Err(Refusal::Wrong(message)) => Err(Fault::usage(message).into()),
        Err(Refusal::Undecided) => Ok(None),
    }
}

/// Whether the options are all that selects besides what selected the kept tests: no plugin looks
/// at the tests before or after, and no option takes the place of an expression of pytest's
/// configuration. The other expression has done its part: whichever of the two comes first, the
/// same tests are left.
pub(super) fn is_alone(head: &Head, pytest: &PytestArgs) -> bool {
    let [keyword, marker] = &head.shape.filters;
    let replaced = |option: &Option<String>, configured: &str| option.is_some() && !configured.is_empty();
    head.shape.hooks.is_empty() && !replaced(&pytest.keyword, keyword) && !replaced(&pytest.marker, marker)
}

/// What of a record decides.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

/// The lines of `records` that both expressions select. First all tests meet `-k`, then
/// what is left meets `-m`, as in pytest.
pub(super) fn select<'a>(
    head: &Head,
    records: &'a [u8],
    selectors: &Selectors,
    keyword: Option<&str>,
    marker: Option<&str>,
) -> Result<Vec<&'a [u8]>, Refusal> {
    let dialect = Dialect::of(&head.pytest_version);
    let lines = records.split_inclusive(|byte| *byte == b'\n');
    let mut selected: Vec<(&[u8], u32)> = lines.zip(selectors.of.iter().copied()).collect();
    if selected.len() as u64 != head.node_count {
        return Err(Refusal::Undecided);
    }
    let keyword = keyword.map(str::trim_start).filter(|text| !text.is_empty());
    for (text, flag) in [(keyword, Flag::Keyword), (marker.filter(|text| !text.is_empty()), Flag::Marker)] {
        let Some(text) = text else {
            continue;
        };
        let expression = Expression::parse(text, flag, dialect)?;
        if let (Flag::Marker, Some(registered)) = (flag, &head.shape.registered_markers) {
            check_names(&expression, registered)?;
        }
        let mut left = Vec::with_capacity(selected.len());
        for (line, number) in selected {
            let named: Named = serde_json::from_slice(line).map_err(|_| Refusal::Undecided)?;
            let selector = selectors.table.get(number as usize).ok_or(Refusal::Undecided)?;
            // A name that is no text stands escaped in the record.
            if named.name.contains("\\ud") {
                return Err(Refusal::Undecided);
            }
            if expression.selects(&named.name, selector)? {
                left.push((line, number));
            }
        }
        selected = left;
    }
    Ok(selected.into_iter().map(|(line, _)| line).collect())
}

/// As pytest checks `-m` where marks must be registered.
fn check_names(expression: &Expression, registered: &[String]) -> Result<(), Refusal> {
    let mut unknown: Vec<&str> =
        expression.names().iter().filter(|name| !registered.contains(name)).map(String::as_str).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::Wrong(format!(
        "Unknown marker(s) in '-m' expression: {}. Use 'pytest --markers' to see available markers.",
        unknown.join(", ")
    )))
}

fn listing_of(question: &Question, head: Head, selected: Vec<&[u8]>, began: Instant) -> anyhow::Result<Listing> {
    let mut hasher = InventoryHasher::default();
    for line in &selected {
        hasher.push(&serde_json::from_slice::<Test>(line)?);
    }
    Ok(Listing {
        collection: Collection {
            node_count: selected.len() as u64,
            errors: 0,
            deselected: head.deselected + head.node_count - selected.len() as u64,
            inventory_hash: hasher.finish(),
            duration_ms: 0.0,
            pytest_args: question.args.clone(),
            rootdir: head.rootdir,
            server: None,
            kept: Some(head.kept),
        },
        records: selected.concat(),
        skipped_files: head.skipped_files,
        began,
    })
}
