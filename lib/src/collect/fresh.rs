//! Owns collecting with Python: writing the records as they come, keeping them, and
//! handing the server on.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use crossbeam_channel::Receiver;

use super::kept::{Known, shown_path};
use super::listing::report;
use super::question::Question;
use super::{exit_of, form_of};
use crate::cli::Color;
use crate::exit::Exit;
use crate::interrupt::{self, Interrupted};
use crate::inventory::partial::outlines;
use crate::inventory::snapshot::{Block, Builder, Built, Head, LastCollection, Selectors, Shape, Trust, sealed};
use crate::inventory::store::{self, Key};
use crate::inventory::watched::{Captured, Watched, capture};
use crate::python_source::doubt::{differing_name, looks_differing};
use crate::record::{CollectError, Collection, Kept, Record, Test};
use crate::report::Collecting;
use crate::server::{self, Collected, Described, FullItem, Launch, Server, Watch};
use crate::stream::{Form, OutputForm, Writer};

/// How long a server waits for the next stage: far longer than a pipeline needs
/// to start its next process, short enough that nobody notices it.
const LINGER_SECONDS: u32 = 5;

/// Collects everything.
pub(super) fn whole(question: &Question, known: Known, output: OutputForm, color: Color) -> anyhow::Result<Exit> {
    let collecting = Collecting::begin(true);
    let started = Started::new(question, Watch::Everything);
    drop(collecting);
    let mut started = started?;
    let socket = waiting_place(question, &started.server);
    let form = form_of(output);
    let mut writer = Writer::new(std::io::stdout().lock(), form);
    let found = started.read(|record, line| {
        if form == Form::Json { writer.write_lines(line) } else { writer.write(record) }?;
        Ok(())
    })?;
    let Started { server, capturing } = started;
    let collected = server.collected.clone();
    for error in &collected.errors {
        writer.write(&Record::CollectError(error.clone()))?;
    }
    let collection = Collection {
        node_count: collected.count as u64,
        errors: collected.errors.len() as u64,
        deselected: collected.deselected,
        inventory_hash: found.built.inventory_hash.clone(),
        duration_ms: crate::rounded_ms(collected.duration_ms),
        pytest_args: question.args.clone(),
        rootdir: collected.rootdir.clone(),
        server: socket.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
        kept: None,
    };
    writer.write(&Record::Collection(collection.clone()))?;
    writer.flush()?;
    drop(writer);
    report(&collected.errors, &skipped(&collected), &collection, output, color);
    if output == OutputForm::Text {
        server.end();
    } else {
        hand_on(server, socket);
        release_stdout();
    }
    keep(question, known, &collected, found, capturing);
    Ok(exit_of(collection.errors, collection.node_count))
}

/// What a collection gave that nobody was shown.
pub(super) struct Fresh {
    /// In pytest's order.
    pub tests: Vec<Test>,
    /// What could not be collected.
    pub errors: Vec<CollectError>,
}

/// Collects everything, keeps it and writes nothing.
pub(super) fn silent(question: &Question, known: Known) -> anyhow::Result<Fresh> {
    let mut started = Started::new(question, Watch::Everything)?;
    let mut tests = Vec::new();
    let found = started.read(|record, _| {
        if let Record::Test(test) = record {
            tests.push(test.clone());
        }
        Ok(())
    })?;
    let Started { server, capturing } = started;
    let collected = server.collected.clone();
    server.end();
    keep(question, known, &collected, found, capturing);
    Ok(Fresh { tests, errors: collected.errors })
}

/// A server that has collected, while what it depended on is being made sure of.
pub(super) struct Started {
    pub server: Server,
    /// Files are read and digested while Python describes its items.
    pub(super) capturing: JoinHandle<(Watched, Captured)>,
}

/// What was collected, beyond what the shim says at once.
pub(super) struct Found {
    pub built: Built,
    pub selectors: Selectors,
    /// An id that looks as if it were another one each time.
    pub differing_id: Option<String>,
    /// Marks of some test say how it is run.
    pub is_tied: bool,
}

impl Started {
    pub(super) fn new(question: &Question, watch: Watch) -> anyhow::Result<Started> {
        Started::until(question, watch, &interrupt::watch().context("cannot watch for signals")?)
    }

    /// The same, where somebody else says when it is to stop.
    pub(super) fn until(
        question: &Question,
        watch: Watch,
        interrupts: &Receiver<Interrupted>,
    ) -> anyhow::Result<Started> {
        Started::by(question, watch, |launch| server::start(launch)?.ready(interrupts))
    }

    /// The same, where `ready` starts the process and waits until it has collected.
    pub(super) fn by(
        question: &Question,
        watch: Watch,
        ready: impl FnOnce(&Launch) -> anyhow::Result<Server>,
    ) -> anyhow::Result<Started> {
        let launch = Launch {
            python: &question.python,
            args: &question.args,
            options: &question.pytest.context_args(),
            identity: None,
            terminal: false,
            watch,
            environment: &[],
            place: question.place,
            deals: false,
        };
        let mut server = ready(&launch)?;
        let watched = server.dependencies()?;
        let environment = question.environment.clone();
        let capturing = std::thread::spawn(move || {
            let captured = capture(&watched, environment);
            (watched, captured)
        });
        Ok(Started { server, capturing })
    }

    /// Ends the server; what the collection depended on, where it could be made sure of.
    pub(super) fn end(self) -> Option<(Watched, Captured)> {
        self.server.end();
        // A thread that panicked proved nothing.
        self.capturing.join().ok()
    }

    /// Reads every item; `each` gets its record, and that as a line of JSON.
    pub(super) fn read(&mut self, each: impl FnMut(&Record, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<Found> {
        self.server.ask_full_items()?;
        read_items(&mut self.server, each)
    }
}

/// Reads the items that a server was asked for; `each` gets the record of each, and that as
/// a line of JSON.
pub(super) fn read_items(
    server: &mut Server,
    mut each: impl FnMut(&Record, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Found> {
    let mut builder = Builder::default();
    let mut of = Vec::with_capacity(server.collected.count);
    let (mut differing_id, mut line) = (None, Vec::new());
    while let Some(chunk) = server.reader.chunk::<FullItem>()? {
        for FullItem { test, selector } in chunk {
            if differing_id.is_none() && looks_differing(&test.node_id) {
                differing_id = Some(test.node_id.clone());
            }
            of.push(selector);
            let record = Record::Test(test);
            line.clear();
            serde_json::to_writer(&mut line, &record)?;
            line.push(b'\n');
            if let Record::Test(test) = &record {
                builder.push(test, &line);
            }
            each(&record, &line)?;
        }
    }
    let Described { selectors: table, is_tied } = server.selectors()?;
    Ok(Found { built: builder.finish(), selectors: Selectors { table, of }, differing_id, is_tied })
}

/// Notes the outlines of the blocks' sources; of `files` alone where any are named.
pub(super) fn outlined(blocks: &mut [Block], files: &[String], watched: &Watched, captured: &Captured, rootdir: &str) {
    for block in blocks.iter_mut().filter(|block| files.is_empty() || files.contains(&block.file_path)) {
        outlines(std::slice::from_mut(block), &captured.sources, watched, rootdir);
    }
}

fn skipped(collected: &Collected) -> Vec<(String, String)> {
    collected.skipped_files.iter().map(|skipped| (skipped.file_path.clone(), skipped.message.clone())).collect()
}

/// Keeps what was collected. It is a saving, never a need: a folder that cannot be
/// written keeps nothing, and a thread that panicked proved nothing.
fn keep(
    question: &Question,
    known: Known,
    collected: &Collected,
    found: Found,
    capturing: JoinHandle<(Watched, Captured)>,
) {
    if let Ok((watched, captured)) = capturing.join() {
        let snapshot = snapshot_of(question, known, collected, found, &watched, captured);
        let _ = snapshot.and_then(|snapshot| snapshot.write(&question.key));
    }
}

/// A collection as it is kept. A copy shares the tests.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub head: Head,
    /// JSON Lines.
    pub records: Arc<Vec<u8>>,
    pub selectors: Arc<Selectors>,
}

impl Snapshot {
    /// The same whose head says what the tests are.
    pub(super) fn sealed(mut self) -> anyhow::Result<Snapshot> {
        self.head.records = sealed(&self.records);
        self.head.selectors = sealed(&serde_json::to_vec(&*self.selectors)?);
        Ok(self)
    }

    /// Puts it where the next collection looks for it. Of one that cannot stand for
    /// another the tests are left out.
    pub(super) fn write(&self, key: &Key) -> anyhow::Result<()> {
        let Snapshot { head, records, selectors } = self;
        let rootdir = Path::new(&head.rootdir);
        if !matches!(head.trust, Trust::Proven | Trust::Doubtful(_)) {
            let head = Head { records: sealed(b""), selectors: sealed(b""), ..head.clone() };
            return store::write(rootdir, &head, key, b"", b"");
        }
        store::write(rootdir, head, key, records, &serde_json::to_vec(&**selectors)?)
    }
}

/// What was collected, with how far it may be trusted.
pub(super) fn snapshot_of(
    question: &Question,
    known: Known,
    collected: &Collected,
    mut found: Found,
    watched: &Watched,
    captured: Captured,
) -> anyhow::Result<Snapshot> {
    let trust = trust(question, &known, collected, &mut found, watched, &captured);
    outlined(&mut found.built.blocks, &[], watched, &captured, &collected.rootdir);
    if trust == Trust::Proven {
        found.built.blocks.iter_mut().for_each(|block| block.agreed = true);
    }
    let records = found.built.records;
    let head = Head {
        key: question.key.to_string(),
        kept: Kept { context: question.context.to_string(), options: question.pytest.context_args() },
        rootdir: collected.rootdir.clone(),
        pytest_args: question.args.clone(),
        python_version: collected.python_version.clone(),
        pytest_version: collected.pytest_version.clone(),
        node_count: collected.count as u64,
        deselected: collected.deselected,
        inventory_hash: found.built.inventory_hash,
        skipped_files: skipped(collected),
        blocks: found.built.blocks,
        dependencies: captured.dependencies,
        shape: Shape {
            hooks: watched.hooks.clone(),
            crosses_files: watched.crosses_files,
            filters: watched.filters.clone(),
            registered_markers: watched.registered_markers.clone(),
            prefixes: watched.prefixes.clone(),
            deal: watched.deal.clone().filter(|_| !found.is_tied),
        },
        trust,
        last: LastCollection {
            at: jiff::Timestamp::now().as_second(),
            took_ms: crate::rounded_ms(collected.duration_ms),
            alone: Vec::new(),
            reasons: known.reasons,
        },
        records: sealed(&records),
        selectors: sealed(&serde_json::to_vec(&found.selectors)?),
    };
    Ok(Snapshot { head, records: Arc::new(records), selectors: Arc::new(found.selectors) })
}

/// How far a collection may be trusted, given the one before it.
fn trust(
    question: &Question,
    known: &Known,
    collected: &Collected,
    found: &mut Found,
    watched: &Watched,
    captured: &Captured,
) -> Trust {
    let blocks = &mut found.built.blocks;
    let before = known.before.as_ref();
    let same_inputs = known.same_inputs && before.is_some_and(|head| same_files(head, captured));
    let differing = before.filter(|_| same_inputs).and_then(|head| first_difference(&head.blocks, blocks));
    let doubt = doubt(question, found.differing_id.as_deref(), watched, captured, &collected.rootdir);
    if let Some(head) = before {
        let agreed: std::collections::HashSet<(&str, &str)> =
            head.blocks.iter().map(|block| (block.file_path.as_str(), block.digest.as_str())).collect();
        for block in blocks.iter_mut() {
            block.agreed = agreed.contains(&(block.file_path.as_str(), block.digest.as_str()));
        }
    }
    if let Some(why) = &captured.unproven {
        return Trust::Unproven(why.replace(&format!("{}/", collected.rootdir), ""));
    }
    if let Some(error) = collected.errors.first() {
        // What went wrong may have been the machine's fault.
        return Trust::Unproven(format!("{} could not be collected", error.file_path));
    }
    if let Some(file) = differing {
        return Trust::Volatile(file);
    }
    match before.map(|head| &head.trust) {
        Some(Trust::Volatile(file)) if same_inputs => return Trust::Volatile(file.clone()),
        _ => {}
    }
    match doubt {
        Some(why) => Trust::Doubtful(why),
        None => Trust::Proven,
    }
}

/// Whether the collection before depended on the same contents as this one.
fn same_files(before: &Head, captured: &Captured) -> bool {
    let digests = |head: &crate::inventory::dependencies::Dependencies| {
        let files = head.files.iter().map(|file| (file.path.clone(), file.sha256.clone()));
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (digests(&before.dependencies), digests(&captured.dependencies));
    old.iter().all(|(path, digest)| new.get(path).is_none_or(|now| now == digest))
}

/// The first file whose tests differ, in order or in anything else.
fn first_difference(old: &[Block], new: &[Block]) -> Option<String> {
    let same = |(old, new): &(&Block, &Block)| old.file_path == new.file_path && old.digest == new.digest;
    let at = old.iter().zip(new).take_while(same).count();
    new.get(at).or(old.get(at)).map(|block| block.file_path.clone())
}

/// What makes it possible that the next collection gives other tests though nothing
/// changed that can be seen.
pub(super) fn doubt(
    question: &Question,
    differing_id: Option<&str>,
    watched: &Watched,
    captured: &Captured,
    rootdir: &str,
) -> Option<String> {
    let seed = &question.seed;
    if seed.parse::<u32>().is_err() && !seed.is_empty() {
        return Some("PYTHONHASHSEED differs in each process".to_string());
    }
    if question.environment.contains_key("PYTEST_XDIST_WORKER") {
        return Some("it runs in a worker of pytest-xdist".to_string());
    }
    if let Some(hook) = watched.hooks.first() {
        return Some(format!("of the hook {}", hook.replace(&format!("{rootdir}/"), "")));
    }
    if let Some(id) = differing_id {
        return Some(format!("of the id {id}"));
    }
    let mut sources: Vec<_> = captured.sources.iter().collect();
    sources.sort_unstable();
    sources
        .into_iter()
        .find_map(|(path, source)| Some((path, differing_name(source)?)))
        .map(|(path, name)| format!("{} uses {name}", shown_path(path, rootdir)))
}

/// Where the server will wait for rpt-run, if it can wait at all: on a terminal
/// nobody takes over.
fn waiting_place(question: &Question, server: &Server) -> Option<PathBuf> {
    let runnable = !std::io::stdout().is_terminal() && server.collected.count > 0;
    if runnable { server::socket_path(&question.context) } else { None }
}

/// Lets the server wait. It is a saving, never a need: where it cannot wait it
/// ends, and rpt-run starts its own.
fn hand_on(mut server: Server, socket: Option<PathBuf>) {
    match socket.map(|path| server.linger(&path, LINGER_SECONDS)) {
        Some(Ok(())) => {}
        Some(Err(_)) | None => server.end(),
    }
}

/// The reader of the listing has all of it: what is left to do must not keep it waiting.
pub(super) fn release_stdout() {
    let _ = std::io::stdout().flush();
    if let Ok(nowhere) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        // Where it cannot be done the reader waits some milliseconds longer.
        let _ = nix::unistd::dup2_stdout(nowhere);
    }
}
