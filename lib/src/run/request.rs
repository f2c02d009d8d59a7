//! Owns which tests are asked for: from arguments or from a stream, and which
//! collected items those are.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

use super::kept::KeptCollection;
use crate::cli::{Fault, PytestArgs};
use crate::project::FOLDER;
use crate::record::{CollectError, Collection, Kind, Shard};
use crate::server::{BriefItem, Variable};
use crate::stream::{Form, Reader, StreamError, decode};
use crate::test_id::{file_of, is_within};

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Ids relative to rootdir, in order; `None`: everything that is collected.
    pub ids: Option<Vec<Box<str>>>,
    /// What pytest is to collect.
    pub paths: Vec<String>,
    /// Whether ids came through a pipe, so that their server may still wait.
    pub piped: bool,
    /// rootdir, where the stream said it.
    pub rootdir: Option<String>,
    /// By what name the stream's server waits.
    pub server: Option<String>,
    /// The collection that made the stream, where it was kept and nobody waits.
    pub kept: Option<KeptCollection>,
    /// Where a stream says it: the arguments of the collection that made it, and how many tests that held.
    pub listing: Option<(Vec<String>, u64)>,
    /// Errors of the collection that made the stream.
    pub collect_errors: Vec<CollectError>,
    /// Tests that collection deselected.
    pub deselected: u64,
    /// The shard the stream is.
    pub shard: Option<Shard>,
    /// Variables of a recorded run; none where this one is no replay.
    pub environment: Vec<Variable>,
}

impl Request {
    /// Reads the arguments, or without any the stream on stdin; with neither,
    /// the whole suite is meant.
    pub(super) fn read(pytest: &PytestArgs, cwd: &Path) -> anyhow::Result<Request> {
        if !pytest.paths.is_empty() {
            return Ok(Request::of_arguments(&pytest.paths, cwd));
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Ok(Request::default());
        }
        Ok(Request::of_stream(stdin.lock(), cwd)?)
    }

    /// As for pytest, except that a node id only chooses among what its file holds:
    /// one that does not exist costs its own result, not the run.
    pub(super) fn of_arguments(arguments: &[String], cwd: &Path) -> Request {
        if !arguments.iter().any(|argument| argument.contains("::")) {
            return Request { paths: arguments.to_vec(), ..Request::default() };
        }
        let mut paths = Vec::new();
        for argument in arguments {
            let file = file_of(argument);
            // pytest says best what is wrong with a path that is not there.
            let path = if cwd.join(file).exists() { file } else { argument };
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_string());
            }
        }
        Request {
            ids: Some(arguments.iter().map(|argument| argument.as_str().into()).collect()),
            paths,
            ..Request::default()
        }
    }

    fn of_stream(source: impl Read, cwd: &Path) -> Result<Request, StreamError> {
        let mut request = Request { piped: true, ..Request::default() };
        let mut ids = Vec::new();
        let mut reader = Reader::new(source);
        while let Some((record, bytes)) = reader.next_envelope()? {
            let (form, number) = (reader.form().unwrap_or(Form::Ids), reader.number());
            match record.kind {
                Kind::Test | Kind::Result => ids.push(record.node_id),
                Kind::CollectError => request.collect_errors.push(decode(form, &bytes, number)?),
                Kind::Shard => request.shard = Some(decode(form, &bytes, number)?),
                Kind::Collection => {
                    let collection: Collection = decode(form, &bytes, number)?;
                    request.deselected += collection.deselected;
                    request.kept = KeptCollection::of(&collection);
                    request.rootdir = Some(collection.rootdir);
                    request.listing = Some((collection.pytest_args, collection.node_count));
                    request.server = collection.server;
                }
                Kind::Started | Kind::RunComplete | Kind::Other => {}
            }
        }
        let base = base_folder(&ids, request.rootdir.as_deref(), cwd);
        Ok(request.naming(ids, &base))
    }

    /// These ids, relative to `rootdir`.
    pub(super) fn of_ids(ids: Vec<Box<str>>, rootdir: &str) -> Request {
        let request = Request { piped: true, rootdir: Some(rootdir.to_string()), ..Request::default() };
        request.naming(ids, Path::new(rootdir))
    }

    /// Asks for `ids`, whose files are in `base`.
    fn naming(mut self, ids: Vec<Box<str>>, base: &Path) -> Request {
        let mut seen = HashSet::new();
        for id in &ids {
            let file = file_of(id);
            if seen.insert(file) && base.join(file).exists() {
                self.paths.push(base.join(file).display().to_string());
            }
        }
        self.ids = Some(ids);
        self
    }

    /// The folder whose history is meant where pytest has not said its rootdir: the
    /// stream's, else `cwd` or the nearest folder above it that has one.
    pub(super) fn folder(&self, cwd: &Path) -> PathBuf {
        match &self.rootdir {
            Some(rootdir) => PathBuf::from(rootdir),
            None => cwd.ancestors().find(|folder| folder.join(FOLDER).exists()).unwrap_or(cwd).to_path_buf(),
        }
    }

    /// Whether it asks for all that is below `rootdir`: then every file of the project was collected.
    /// In doubt it does not.
    pub(super) fn is_whole(&self, rootdir: &Path, cwd: &Path) -> bool {
        let (Ok(rootdir), Ok(here)) = (rootdir.canonicalize(), cwd.canonicalize()) else {
            return false;
        };
        let is_part = |path: &str| here.join(path).canonicalize().is_ok_and(|path| path != rootdir);
        let arguments = match (&self.ids, &self.listing) {
            (None, _) => &self.paths,
            // Values of options may look like paths.
            (Some(ids), Some((arguments, tests))) if ids.len() as u64 == *tests && self.shard.is_none() => arguments,
            (Some(_), _) => return false,
        };
        here == rootdir && !arguments.iter().any(|argument| is_part(file_of(argument)))
    }

    /// Whether nothing at all is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether files failed to collect before, so that nothing would run anyway.
    pub(super) fn nothing_exists(&self) -> bool {
        self.ids.is_some() && self.paths.is_empty()
    }
}

/// The folder the ids of a stream are relative to: what the stream says, else
/// `cwd` or the nearest folder above it that holds the first of their files.
fn base_folder(ids: &[Box<str>], rootdir: Option<&str>, cwd: &Path) -> PathBuf {
    if let Some(rootdir) = rootdir {
        return PathBuf::from(rootdir);
    }
    let first = ids.first().map(|id| file_of(id)).unwrap_or_default();
    cwd.ancestors().find(|folder| folder.join(first).exists()).unwrap_or(cwd).to_path_buf()
}

/// Which items are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Item numbers, each once, in the order asked for.
    pub order: Vec<u32>,
    /// Ids that name nothing.
    pub not_found: Vec<Box<str>>,
}

impl Selection {
    /// Finds what `request` asks for among `items`. Ids given as arguments are
    /// relative to `cwd`, those of a stream to `rootdir`.
    pub(super) fn of(request: &Request, items: &[BriefItem], rootdir: &Path, cwd: &Path) -> Selection {
        let Some(ids) = &request.ids else {
            return Selection { order: (0..items.len() as u32).collect(), not_found: Vec::new() };
        };
        // `find` and an editor write paths in their own way.
        let plain: Vec<Option<String>> = ids
            .iter()
            .map(|id| match request.piped {
                true => is_roundabout(id).then(|| relative_to(rootdir, &rootdir.join(&**id))),
                false => Some(relative_to(rootdir, &cwd.join(&**id))),
            })
            .collect();
        let files = ids.iter().map(|id| file_of(id)).chain(plain.iter().flatten().map(|id| file_of(id)));
        let (mut by_id, by_file) = places(items, &files.collect());
        let mut selection = Selection::default();
        let mut taken = vec![false; items.len()];
        let mut missed = HashSet::new();
        let ids: Vec<&str> = ids
            .iter()
            .zip(&plain)
            .map(|(id, plain)| match plain {
                Some(plain) if !(request.piped && by_id.contains_key(&**id)) => plain,
                _ => &**id,
            })
            .collect();
        let mut mentions: HashMap<&str, usize> = HashMap::new();
        for id in ids.iter().filter(|id| by_id.get(**id).is_some_and(|numbers| numbers.len() > 1)) {
            *mentions.entry(id).or_default() += 1;
        }
        for id in ids {
            let found = match (by_id.get_mut(id), by_file.get(file_of(id))) {
                // Several items of one id: a stream names each of them in its place;
                // an id named less often than that stands for all of them.
                (Some(numbers), _) => {
                    let later = mentions.get_mut(id).map_or(0, |left| {
                        *left -= 1;
                        *left
                    });
                    numbers.drain(..numbers.len() - later.min(numbers.len())).collect()
                }
                (None, Some(file)) => within(file.iter().copied(), id, items),
                // A folder: looked for among all.
                (None, None) => within(0..items.len() as u32, id, items),
            };
            let known = by_id.contains_key(id);
            if found.is_empty() && !known && missed.insert(id) {
                selection.not_found.push(id.into());
            }
            for number in found {
                if !std::mem::replace(&mut taken[number as usize], true) {
                    selection.order.push(number);
                }
            }
        }
        selection
    }

    /// The files in which all that `request` asks for is looked for, where they are known: the
    /// arguments name no folder.
    pub(super) fn files_of(request: &Request, rootdir: &Path, cwd: &Path) -> Option<Vec<String>> {
        let ids = request.ids.as_ref().filter(|_| !request.piped)?;
        let files: HashSet<String> =
            ids.iter().map(|id| file_of(&relative_to(rootdir, &cwd.join(&**id))).to_string()).collect();
        files.iter().all(|file| rootdir.join(file).is_file()).then(|| files.into_iter().collect())
    }

    /// Moves the items of these ids before all others.
    pub(super) fn put_first(&mut self, items: &[BriefItem], first: &[Box<str>]) {
        let first: HashSet<&str> = first.iter().map(|id| &**id).collect();
        if !first.is_empty() {
            self.order.sort_by_key(|&number| !first.contains(&*items[number as usize].node_id));
        }
    }
}

/// Numbers, by some text.
type Numbers<'a> = HashMap<&'a str, Vec<u32>>;

/// The items of these files by id and by file: of a large suite most are of others.
fn places<'a>(items: &'a [BriefItem], files: &HashSet<&str>) -> (Numbers<'a>, Numbers<'a>) {
    let (mut by_id, mut by_file) = (Numbers::new(), Numbers::new());
    let mut last: Option<(&str, bool)> = None;
    for (number, item) in items.iter().enumerate() {
        let id = &*item.node_id;
        // Neighbours are mostly of one file.
        let (file, asked) = match last {
            Some((file, asked)) if id.strip_prefix(file).is_some_and(|rest| rest.starts_with("::")) => (file, asked),
            _ => (file_of(id), files.contains(file_of(id))),
        };
        last = Some((file, asked));
        if asked {
            by_id.entry(id).or_default().push(number as u32);
            by_file.entry(file).or_default().push(number as u32);
        }
    }
    (by_id, by_file)
}

fn within(numbers: impl Iterator<Item = u32>, ancestor: &str, items: &[BriefItem]) -> Vec<u32> {
    numbers.filter(|&number| is_within(&items[number as usize].node_id, ancestor)).collect()
}

/// Whether a pipe brought tests that nobody read.
pub(super) fn left_on_stdin() -> bool {
    let stdin = std::io::stdin();
    let is_pipe = fstat(&stdin).is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode).contains(SFlag::S_IFIFO));
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    is_pipe
        && poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// Whether the path in `id` is not as it stands in node ids.
fn is_roundabout(id: &str) -> bool {
    let path = file_of(id);
    path.starts_with(['.', '/']) || path.contains("/.") || path.contains("//") || path.ends_with('/')
}

/// `path` (whose last part may go on with `::`) as it stands in node ids: without
/// `.` and `..`, relative to rootdir where it lies below it.
fn relative_to(rootdir: &Path, path: &Path) -> String {
    let mut plain = PathBuf::new();
    // What stands in brackets is no path, whatever it looks like.
    let text = path.to_string_lossy();
    let (file, rest) = text.split_at(file_of(&text).len());
    for component in Path::new(file).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    let relative = plain.strip_prefix(rootdir).unwrap_or(&plain);
    format!("{}{rest}", relative.display())
}

/// What to say when there is nothing to run.
pub(super) fn nothing_asked() -> Fault {
    Fault::nothing_to_run("no tests on stdin; to run the whole suite: rpt-run .")
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
