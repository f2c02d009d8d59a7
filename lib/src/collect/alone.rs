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
use crate::inventory::snapshot::{Head, LastCollection, Shape, Trust, sealed};
use crate::inventory::store;
use crate::inventory::watched::{Captured, Watched};
use crate::server::Watch;
use crate::stream::OutputForm;

/// What collecting a few files alone came to.
pub(super) enum Outcome {
    /// The whole listing was written.
    Written(Exit),
    /// Nothing was written: everything must be collected, and why.
    GivenUp(String),
}

/// Collects the files of `part` alone, writes the whole listing and keeps it, or gives up.
pub(super) fn collect(question: &Question, part: &Part, output: OutputForm, color: Color) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let Some(before) = &part.known.before else {
        return Ok(Outcome::GivenUp("nothing was kept".to_string()));
    };
    let paths: Vec<String> =
        part.files.iter().map(|file| Path::new(&before.rootdir).join(file).display().to_string()).collect();
    // What went wrong is told by the collection of everything.
    let mut started = match Started::new(question, Watch::Only(&paths)) {
        Ok(started) => started,
        Err(error) => return Ok(Outcome::GivenUp(format!("{error:#}"))),
    };
    let found = started.read(|_, _| Ok(()))?;
    let collected = started.server.collected.clone();
    let captured = started.end();
    let skipped = collected.skipped_files.iter().find(|skipped| part.files.contains(&skipped.file_path));
    let unfit = if let Some(error) = collected.errors.first() {
        Some(format!("{} could not be collected", error.file_path))
    } else if let Some(skipped) = skipped {
        Some(format!("{} was skipped", skipped.file_path))
    } else if collected.deselected > 0 {
        Some(format!("{} tests were deselected", collected.deselected))
    } else if collected.rootdir != before.rootdir {
        Some(format!("its rootdir was {}", collected.rootdir))
    } else {
        None
    };
    if let Some(why) = unfit {
        return Ok(Outcome::GivenUp(why));
    }
    let Some((watched, captured)) = captured else {
        return Ok(Outcome::GivenUp("what it depends on could not be read".to_string()));
    };
    let (head, merged) = match merged(question, part, before, &found, &watched, captured) {
        Ok(merged) => merged,
        Err(why) => return Ok(Outcome::GivenUp(why)),
    };
    let selectors = serde_json::to_vec(&merged.selectors)?;
    let head =
        Head { records: sealed(&merged.built.records), selectors: sealed(&selectors), last: last(part, began), ..head };
    let exit = listing_of(head.clone(), merged.built.records.clone(), began).write(output, color)?;
    release_stdout();
    // Keeping is a saving, never a need.
    let _ = store::write(Path::new(&head.rootdir), &head, &question.key, &merged.built.records, &selectors);
    Ok(Outcome::Written(exit))
}

/// The head and the tests of the whole suite, or what shows that other files might give
/// other tests now.
pub(super) fn merged(
    question: &Question,
    part: &Part,
    before: &Head,
    found: &Found,
    watched: &Watched,
    captured: Captured,
) -> Result<(Head, Merged), String> {
    let (old, fresh) = (&before.blocks, &found.built.blocks);
    let digest_of = |file: &str| old.iter().find(|block| block.file_path == file).map(|block| &block.digest);
    let same = fresh.iter().all(|block| digest_of(&block.file_path) == Some(&block.digest));
    if let Some(why) = &captured.unproven {
        return Err(why.clone());
    }
    if let Some(hook) = watched.hooks.first() {
        return Err(format!("the hook {hook} decides too"));
    }
    if watched.borrowed {
        return Err("a test comes of what its file only imports".to_string());
    }
    if watched.crosses_files {
        return Err("a parameter orders tests of several files among each other".to_string());
    }
    // Nothing changed and yet the tests did: the collection of everything says so.
    if part.known.same_inputs && !same {
        return Err("other tests came though nothing changed".to_string());
    }
    let doubt = doubt(question, found.differing_id.as_deref(), watched, &captured, &before.rootdir);
    let dependencies = joined(&before.dependencies, &captured.dependencies, &part.files, &before.rootdir)?;
    let mut merged = merge(old, &part.records, &part.selectors, &part.files, &found.built, &found.selectors)
        .ok_or("its tests do not fit in the place of the old ones")?;
    let proven_before = before.trust == Trust::Proven;
    let known: HashMap<&str, _> = old.iter().map(|block| (block.file_path.as_str(), block)).collect();
    for block in &mut merged.built.blocks {
        let old = known.get(block.file_path.as_str()).ok_or_else(|| format!("{} is new", block.file_path))?;
        let is_fresh = part.files.contains(&block.file_path);
        block.agreed = if is_fresh { block.digest == old.digest } else { old.agreed || proven_before };
        block.outline.clone_from(&old.outline);
        block.renewed = is_fresh || old.renewed;
    }
    outlined(&mut merged.built.blocks, &part.files, watched, &captured, &before.rootdir);
    for block in &mut merged.built.blocks {
        let path = Path::new(&before.rootdir).join(&block.file_path).display().to_string();
        // The files that came now read it.
        if let Some(outline) = block.outline.as_mut().filter(|_| watched.read.contains(&path)) {
            outline.contained = false;
        }
        // Others looked at it when they were collected.
        block.secluded &= known.get(block.file_path.as_str()).is_some_and(|old| old.secluded);
    }
    let trust = match (&before.trust, doubt) {
        (Trust::Proven, None) => Trust::Proven,
        (Trust::Proven, Some(why)) => Trust::Doubtful(why),
        (Trust::Doubtful(why), _) => Trust::Doubtful(why.clone()),
        (Trust::Unproven(why) | Trust::Volatile(why), _) => return Err(why.clone()),
    };
    let can_be_dealt = watched.deal.is_some() && !found.is_tied;
    let head = Head {
        node_count: merged.selectors.of.len() as u64,
        inventory_hash: merged.built.inventory_hash.clone(),
        blocks: merged.built.blocks.clone(),
        dependencies,
        // What these files share or say of running them is new.
        shape: Shape { deal: before.shape.deal.clone().filter(|_| can_be_dealt), ..before.shape.clone() },
        trust,
        ..before.clone()
    };
    Ok((head, merged))
}

/// Of a collection of `part` that began then.
pub(super) fn last(part: &Part, began: Instant) -> LastCollection {
    LastCollection {
        at: jiff::Timestamp::now().as_second(),
        took_ms: crate::rounded_ms(began.elapsed().as_secs_f64() * 1000.0),
        alone: part.files.clone(),
        reasons: part.known.reasons.clone(),
    }
}

/// The dependencies of both collections, or what the part loaded that the whole had not,
/// or read that is no longer the same.
fn joined(old: &Dependencies, part: &Dependencies, files: &[String], rootdir: &str) -> Result<Dependencies, String> {
    let changed: HashSet<String> =
        files.iter().map(|file| Path::new(rootdir).join(file).display().to_string()).collect();
    let mut fresh: HashMap<&str, &FileDependency> = part.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut joined = old.clone();
    for file in &mut joined.files {
        match fresh.remove(file.path.as_str()) {
            Some(now) if changed.contains(&file.path) => *file = now.clone(),
            Some(now) if now.sha256 != file.sha256 || now.state.is_some() != file.state.is_some() => {
                return Err(format!("{} is no longer the same", file.path));
            }
            _ => {}
        }
    }
    let is_code = |file: &&FileDependency| [".py", ".pyc", ".so"].iter().any(|end| file.path.ends_with(end));
    if let Some(file) = fresh.values().find(|file| file.state.is_some() && is_code(file)) {
        return Err(format!("{} was loaded too", file.path));
    }
    joined.files.extend(fresh.into_values().cloned());
    for listing in &part.listings {
        match joined.listings.iter_mut().find(|known| known.path == listing.path) {
            Some(known) if known.every == listing.every && known.entries != listing.entries => {
                return Err(format!("{} has other entries", listing.path));
            }
            Some(known) if listing.every && !known.every => *known = listing.clone(),
            Some(_) => {}
            None => joined.listings.push(listing.clone()),
        }
    }
    Ok(joined)
}
