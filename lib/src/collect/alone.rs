//! Owns collecting a few changed files alone and putting their tests in place of the
//! old ones. Whatever does not fit is given up, and everything is collected.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use super::fresh::{Found, Started, doubt, outlined, release_stdout};
use super::kept::{Part, listing_of};
use super::question::Question;
use crate::cli::Color;
use crate::exit::Exit;
use crate::inventory::dependencies::{Dependencies, FileDependency};
use crate::inventory::partial::{Merged, merge};
use crate::inventory::snapshot::{Head, LastCollection, Trust, sealed};
use crate::inventory::store;
use crate::inventory::watched::{Captured, Watched};
use crate::server::Watch;
use crate::stream::OutputForm;

/// Collects the files of `part` alone, writes the whole listing and keeps it; `None`:
/// they cannot be collected alone, and nothing was written.
pub(super) fn collect(
    question: &Question,
    part: &Part,
    output: OutputForm,
    color: Color,
) -> anyhow::Result<Option<Exit>> {
    let began = Instant::now();
    let Some(before) = &part.known.before else {
        return Ok(None);
    };
    let paths: Vec<String> =
        part.files.iter().map(|file| Path::new(&before.rootdir).join(file).display().to_string()).collect();
    // What went wrong is told by the collection of everything.
    let Ok(mut started) = Started::new(question, Watch::Only(&paths)) else {
        return Ok(None);
    };
    let found = started.read(|_, _| Ok(()))?;
    let collected = started.server.collected.clone();
    let captured = started.end();
    let clean = collected.errors.is_empty() && collected.deselected == 0 && collected.rootdir == before.rootdir;
    let skipped = collected.skipped_files.iter().any(|skipped| part.files.contains(&skipped.file_path));
    let Some((watched, captured)) = captured.filter(|_| clean && !skipped) else {
        return Ok(None);
    };
    let Some((head, merged)) = merged(question, part, before, &found, &watched, captured) else {
        return Ok(None);
    };
    let selectors = serde_json::to_vec(&merged.selectors)?;
    let head = Head {
        records: sealed(&merged.built.records),
        selectors: sealed(&selectors),
        last: LastCollection {
            at: jiff::Timestamp::now().as_second(),
            took_ms: crate::rounded_ms(began.elapsed().as_secs_f64() * 1000.0),
            alone: part.files.clone(),
            reasons: part.known.reasons.clone(),
        },
        ..head
    };
    let exit = listing_of(head.clone(), merged.built.records.clone(), began).write(output, color)?;
    release_stdout();
    // Keeping is a saving, never a need.
    let _ = store::write(Path::new(&head.rootdir), &head, &question.key, &merged.built.records, &selectors);
    Ok(Some(exit))
}

/// The head and the tests of the whole suite; `None` where something shows that other
/// files might give other tests now.
fn merged(
    question: &Question,
    part: &Part,
    before: &Head,
    found: &Found,
    watched: &Watched,
    captured: Captured,
) -> Option<(Head, Merged)> {
    let proven = captured.unproven.is_none() && watched.hooks.is_empty() && !watched.crosses_files;
    let (old, fresh) = (&before.blocks, &found.built.blocks);
    let digest_of = |file: &str| old.iter().find(|block| block.file_path == file).map(|block| &block.digest);
    let same = fresh.iter().all(|block| digest_of(&block.file_path) == Some(&block.digest));
    // Nothing changed and yet the tests did: the collection of everything says so.
    if !proven || (part.known.same_inputs && !same) {
        return None;
    }
    let doubt = doubt(question, found.differing_id.as_deref(), watched, &captured, &before.rootdir);
    let dependencies = joined(&before.dependencies, &captured.dependencies, &part.files, &before.rootdir)?;
    let mut merged = merge(old, &part.records, &part.selectors, &part.files, &found.built, &found.selectors)?;
    let proven_before = before.trust == Trust::Proven;
    let known: HashMap<&str, _> = old.iter().map(|block| (block.file_path.as_str(), block)).collect();
    for block in &mut merged.built.blocks {
        let old = known.get(block.file_path.as_str())?;
        let is_fresh = part.files.contains(&block.file_path);
        block.agreed = if is_fresh { block.digest == old.digest } else { old.agreed || proven_before };
        block.outline.clone_from(&old.outline);
    }
    outlined(&mut merged.built.blocks, &part.files, watched, &captured, &before.rootdir);
    let trust = match (&before.trust, doubt) {
        (Trust::Proven, None) => Trust::Proven,
        (Trust::Proven, Some(why)) => Trust::Doubtful(why),
        (Trust::Doubtful(why), _) => Trust::Doubtful(why.clone()),
        (Trust::Unproven(_) | Trust::Volatile(_), _) => return None,
    };
    let head = Head {
        node_count: merged.selectors.of.len() as u64,
        inventory_hash: merged.built.inventory_hash.clone(),
        blocks: merged.built.blocks.clone(),
        dependencies,
        trust,
        ..before.clone()
    };
    Some((head, merged))
}

/// The dependencies of both collections. `None` where the part loaded a module that the
/// whole had not, or read something that is no longer the same.
fn joined(old: &Dependencies, part: &Dependencies, files: &[String], rootdir: &str) -> Option<Dependencies> {
    let changed: HashSet<String> =
        files.iter().map(|file| Path::new(rootdir).join(file).display().to_string()).collect();
    let mut fresh: HashMap<&str, &FileDependency> = part.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut joined = old.clone();
    for file in &mut joined.files {
        match fresh.remove(file.path.as_str()) {
            Some(now) if changed.contains(&file.path) => *file = now.clone(),
            Some(now) if now.sha256 != file.sha256 || now.state.is_some() != file.state.is_some() => return None,
            _ => {}
        }
    }
    let is_code = |file: &&FileDependency| [".py", ".pyc", ".so"].iter().any(|end| file.path.ends_with(end));
    if fresh.values().any(|file| file.state.is_some() && is_code(file)) {
        return None;
    }
    joined.files.extend(fresh.into_values().cloned());
    for listing in &part.listings {
        match joined.listings.iter_mut().find(|known| known.path == listing.path) {
            Some(known) if known.every == listing.every && known.entries != listing.entries => return None,
            Some(known) if listing.every && !known.every => *known = listing.clone(),
            Some(_) => {}
            None => joined.listings.push(listing.clone()),
        }
    }
    Some(joined)
}
