//! Owns a run from beginning to end: which tests, which server, how workers are
//! made, and what the run ends with. The loop itself is `dispatcher`.

mod again;
mod attending;
mod balance;
mod care;
mod cause;
mod deadline;
mod dealing;
mod death;
mod dispatcher;
mod end;
mod event;
mod files;
mod holding;
mod host;
mod joining;
mod kept;
mod memory;
mod message;
mod needs;
mod obtain;
mod options;
mod orphans;
mod overdue;
mod plan;
mod policy;
mod prepare;
mod queued;
mod relay;
mod request;
mod retry;
mod share;
mod sinks;
mod slot;
mod stopping;
mod stress;
mod ties;
mod together;
mod unmatched;
mod verify;
mod ward;
mod warm;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use crossbeam_channel::Receiver;
use sha2::{Digest, Sha256};

use crate::cli::{Fault, Format, as_usage, one_line, say};
use crate::exit::Exit;
use crate::history::{Circumstances, Kept, Recorder, RunHasher, RunHead};
use crate::interrupt::{self, Interrupted};
use crate::inventory::snapshot::Deal;
use crate::location::Location;
use crate::project::{history_for_run, local_history, rootdir_option};
use crate::python::find_python;
use crate::record::CollectError;
use crate::report::{Collecting, Report, View};
use crate::server::{self, BriefItem, Collected, Protocol, Server};
use crate::stream::{Form, OutputForm, Writer};
use crate::tally::{Ending, Tally, exit_code};
use crate::{outcome::Outcome, result};
use again::Again;
use attending::Attending;
use dispatcher::{Dispatcher, Outcomes};
use event::{forward, listen_for_end};
use files::Files;
use host::{Dealt, Host, SpawnRecipe};
use joining::Queue;
use relay::Relay;
use request::{Request, Selection};
use share::Sharing;
use sinks::{Memory, Sinks};
use ward::Ward;

pub use again::Replay;
pub use care::Care;
pub use deadline::Timeout;
pub use files::{OnGitHub, ReportFiles};
pub use joining::QueueOptions;
pub use options::{CollectIn, Exec, RunOptions, Workers};
pub use retry::{RerunWhen, Reruns};
pub use stress::StressNew;
pub use ward::QuarantineFrom;

/// What is run on somebody's behalf.
#[derive(Debug)]
pub struct Given {
    /// Ids relative to rootdir; `None`: everything, or what the arguments name.
    pub ids: Option<Vec<Box<str>>>,
    /// What they are relative to.
    pub rootdir: String,
    /// Those of them, or of what is in their files, that run before all others.
    pub first: Vec<Box<str>>,
    /// The server to run them with; `None`: a new one.
    pub server: Option<PathBuf>,
}

/// Runs what is asked for.
pub fn run(options: &RunOptions) -> anyhow::Result<Exit> {
    run_with(options, None)
}

/// Runs what somebody else was asked for, whatever stands on stdin.
pub fn run_given(options: &RunOptions, given: Given) -> anyhow::Result<Exit> {
    run_with(options, Some(given))
}

fn run_with(options: &RunOptions, given: Option<Given>) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let cwd = std::env::current_dir().context("cannot read the current folder")?;
    let on_stdout = Format::resolve_for_stage(options.format, Form::Json)?;
    let again = options.replay.as_ref().map(|asked| Again::read(asked, options, &cwd)).transpose()?;
    if let Some(warning) = again.as_ref().and_then(Again::warning) {
        say(&format!("rpt-run: {warning}"));
    }
    let replayed = again.as_ref().map(|again| again.options(options));
    let options = replayed.as_ref().unwrap_or(options);
    let queue = Queue::of(options)?;
    let mut lease = None;
    let mut first = Vec::new();
    let mut request = match (&again, given) {
        (Some(again), _) => again.request(),
        (None, Some(given)) => {
            lease = given.server;
            first = given.first;
            match given.ids {
                Some(ids) => Request::of_ids(ids, &given.rootdir),
                None => Request::of_arguments(&options.pytest.paths, &cwd),
            }
        }
        (None, None) => Request::read(&options.pytest, &cwd)?,
    };
    if request.is_empty() && request.collect_errors.is_empty() && request.shard.is_none() {
        return Err(request::nothing_asked().into());
    }
    let files = Files::open(&options.files)?;
    if request.is_empty() || request.nothing_exists() {
        return Run::new(options, on_stdout, &request, None, &request.folder(&cwd), files)
            .without_server(&request, None, began);
    }
    let python = find_python(options.pytest.python.as_deref(), &cwd).map_err(as_usage)?;
    let interrupts = interrupt::watch().context("cannot watch for signals")?;
    let collecting =
        Collecting::begin(!options.quiet && options.show.brief == 0 && options.workers != Workers::Exactly(0));
    let located = options.files.tell_places();
    let leased = lease.and_then(|socket| obtain::attach_to(&socket, located));
    let obtained = match leased {
        Some(obtained) => Ok(obtained),
        None => obtain::server(options, &mut request, &python, &cwd, (&interrupts, began)),
    };
    drop(collecting);
    let mut server = match obtained {
        Ok(server) => server,
        Err(error) => match options.care.stopped_before(&error) {
            Some(reason) => {
                let mut run = Run::new(options, on_stdout, &request, None, &request.folder(&cwd), files);
                return run.without_server(&request, Some(reason), began);
            }
            None => return Err(error),
        },
    };
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let rootdir = PathBuf::from(&server.server.collected.rootdir);
    let ward = refuse(options, &server.server.collected)
        .and_then(|()| Ward::open(&options.care.quarantine, &rootdir, today).map_err(as_usage));
    let ward = match ward {
        Ok(ward) => ward,
        Err(fault) => {
            server.server.end();
            return Err(fault.into());
        }
    };
    let mut items = match std::mem::take(&mut server.items) {
        Some(items) => items,
        None => server.server.brief_items(options.files.tell_places())?,
    };
    if let Some(again) = &again {
        again.tie(&mut items);
    }
    let mut selection = Selection::of(&request, &items, &rootdir, &cwd);
    selection.put_first(&items, &first);
    let store = (!options.no_history).then(|| history_for_run(options.history.clone(), &rootdir));
    let workers = joining::sharers(queue.as_ref(), share::count(options.workers));
    let how = (options.dist, workers, request.is_whole(&rootdir, &cwd));
    let places = (&*rootdir, store.as_ref());
    let sharing = match share::plan(&mut server.server, &items, &selection.order, how, places) {
        Ok(sharing) => sharing,
        Err(error) => {
            server.server.end();
            return Err(error);
        }
    };
    drop_ids(request, |request| {
        let mut run = Run::new(options, on_stdout, request, Some(&server.server.collected), &rootdir, files);
        run.ward = ward;
        run.sharing = sharing;
        run.queue = queue;
        run.daemon = server.daemon;
        run.deal = server.deal;
        run.first_worker = again.as_ref().map_or(0, Again::first_worker);
        run.with_server(server.server, &items, &selection, &python, interrupts, began)
    })
}

/// Frees the ids of a stream, which may be many, before the run begins.
fn drop_ids<T>(mut request: Request, body: impl FnOnce(&Request) -> T) -> T {
    request.ids = request.ids.map(|_| Vec::new());
    body(&request)
}

/// Options that would do nothing, or write something wrong, are refused.
fn refuse(options: &RunOptions, collected: &Collected) -> Result<(), Fault> {
    let workers = options.workers != Workers::Exactly(0);
    for option in &collected.refused {
        match option.as_str() {
            "--collect-only" => return Err(Fault::usage("--collect-only runs nothing: use rpt-collect")),
            option if workers => {
                return Err(Fault::usage(format!(
                    "pytest's {option} works in one process only: add -n 0, or leave it out"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A run and everything that is told of it.
struct Run<'a> {
    options: &'a RunOptions,
    collect_errors: Vec<CollectError>,
    skipped_files: Vec<server::SkippedFile>,
    deselected: u64,
    empty_is_fine: bool,
    on_stdout: OutputForm,
    head: RunHead,
    store: Option<Location>,
    ward: Ward,
    files: Files,
    /// pytest's own exit code, where plugins had a say.
    overruled: Option<u8>,
    /// Variables of a replay.
    environment: Vec<server::Variable>,
    /// The number of the first worker.
    first_worker: usize,
    /// pytest's options and paths, for plain pytest.
    plain_args: Vec<String>,
    paths: Vec<String>,
    /// No ids were named: whatever plain pytest runs was meant.
    asked_for_all: bool,
    sharing: Sharing,
    /// The queue that it is to be a node of.
    queue: Option<Queue>,
    /// The daemon that leased the server.
    daemon: Option<UnixStream>,
    /// What workers need that collect their own files; `None`: the server collected all.
    deal: Option<Deal>,
}

impl<'a> Run<'a> {
    fn new(
        options: &'a RunOptions,
        on_stdout: OutputForm,
        request: &Request,
        collected: Option<&Collected>,
        rootdir: &Path,
        files: Files,
    ) -> Run<'a> {
        let mut collect_errors = request.collect_errors.clone();
        for error in collected.iter().flat_map(|collected| &collected.errors) {
            if !collect_errors.iter().any(|known| known.file_path == error.file_path) {
                collect_errors.push(error.clone());
            }
        }
        let mut head = RunHead::of_checkout(rootdir);
        head.args = std::env::args().collect();
        head.shard = request.shard.clone();
        if let Some(collected) = collected {
            head.python_version.clone_from(&collected.python_version);
            head.pytest_version.clone_from(&collected.pytest_version);
            let hazards = options.exec == Exec::Auto && !collected.fork_hazards.is_empty();
            let given = request.environment.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
            head.circumstances = Some(Circumstances {
                options: collected.options.clone(),
                environment: if request.environment.is_empty() { again::environment() } else { given.collect() },
                randomly_seed: collected.randomly_seed,
                spawned: options.exec == Exec::Spawn || hazards,
            });
        }
        Run {
            options,
            collect_errors,
            skipped_files: collected.map(|collected| collected.skipped_files.clone()).unwrap_or_default(),
            deselected: request.deselected.max(collected.map_or(0, |collected| collected.deselected)),
            empty_is_fine: request.shard.is_some(),
            on_stdout,
            store: (!options.no_history).then(|| history_for_run(options.history.clone(), rootdir)),
            head,
            ward: Ward::default(),
            files,
            overruled: None,
            environment: request.environment.clone(),
            first_worker: 0,
            plain_args: collected.map_or_else(|| options.pytest.context_args(), |collected| collected.options.clone()),
            paths: request.paths.clone(),
            asked_for_all: request.ids.is_none(),
            sharing: Sharing::default(),
            queue: None,
            daemon: None,
            deal: None,
        }
    }

    /// Opens everything that is told of a run of `total` tests.
    fn sinks(&mut self, total: u64) -> Sinks {
        let view = View {
            on_stdout: self.on_stdout == OutputForm::Text,
            quiet: self.options.quiet,
            color: self.options.color,
            terminal_taken: self.options.workers == Workers::Exactly(0),
            explain_protocol: self.options.explain_protocol,
            stats: self.options.stats,
            show: self.options.show.clone(),
        };
        self.files.begin(&self.head);
        let records = match self.on_stdout {
            OutputForm::Records(form) => Some(Writer::new(std::io::stdout(), form)),
            OutputForm::Text => None,
        };
        let memory = match &self.store {
            Some(store) => {
                let local = local_history(Path::new(&self.head.rootdir));
                Memory::Store(Recorder::start(Kept { store: store.clone(), local }, self.head.clone()))
            }
            None => Memory::Digest(RunHasher::new()),
        };
        Sinks {
            records,
            events: self.options.events,
            memory,
            files: std::mem::take(&mut self.files),
            report: Report::new(view, total),
            reader_gone: false,
            write_error: None,
        }
    }

    fn ending_before(&self, continue_on_errors: bool) -> Ending {
        let goes_on = self.options.continue_on_collection_errors || continue_on_errors;
        if self.collect_errors.is_empty() || goes_on { Ending::Complete } else { Ending::CollectionFailed }
    }

    fn with_server(
        &mut self,
        mut server: Server,
        items: &[BriefItem],
        selection: &Selection,
        python: &Path,
        interrupts: Receiver<Interrupted>,
        began: Instant,
    ) -> anyhow::Result<Exit> {
        let collect_reports = if self.files.want_reports() { server.collect_reports()? } else { Vec::new() };
        let ending = self.ending_before(server.collected.continue_on_collection_errors);
        let (order, place) = match self.enter_queue(items, selection, &ending) {
            Ok(entered) => entered,
            Err(error) => {
                server.end();
                return Err(error);
            }
        };
        let Server { collected, mut writer, reader, mut process } = server;
        let mut sinks = self.sinks((order.len() + selection.not_found.len()) as u64);
        sinks.files.collected(&collect_reports);
        collected.warnings.iter().for_each(|warning| sinks.warning(warning.clone()));
        let mut tally = Tally::default();
        give_not_run(&selection.not_found, "not found", &mut tally, &mut sinks);
        if ending == Ending::CollectionFailed || order.is_empty() {
            for &item in &*order {
                let brief = &items[item as usize];
                let mut result = result::not_run(&brief.node_id, "errors during collection");
                result.locate(brief.location.as_deref());
                tally.add(result.outcome);
                sinks.result(result);
            }
            Server { collected, writer, reader, process }.end();
            return self.finish(sinks, Outcomes::without_plan(tally, ending), began);
        }
        for item in items {
            if let Some(problem) = item.marks.as_deref().and_then(retry::problem_of) {
                sinks.report.note(&format!("{}: its mark says nothing: {problem}", item.node_id));
            }
        }
        let workers = share::count(self.options.workers).max(1);
        let noted =
            collected.notes.iter().filter(|(from, _)| self.options.workers != Workers::Exactly(0) && workers >= *from);
        noted.for_each(|(_, note)| sinks.report.note(note));
        let ward = std::mem::take(&mut self.ward);
        let spared = orphans::adopt(process.as_ref().map(server::Started::pid));
        let sharing = std::mem::take(&mut self.sharing);
        sharing.notes.iter().for_each(|note| sinks.report.note(note));
        let events = crossbeam_channel::unbounded();
        let queued = place.map(|place| place.start(&events.0));
        let total = self.options.care.total_from(began);
        let environment = match prepare::prepare(&sharing.setup, Path::new(&collected.rootdir), &interrupts, total) {
            Ok(environment) => environment,
            Err(unprepared) => {
                sinks.report.output(&unprepared.printed);
                give_not_run(&ids_of(items, &order), &unprepared.reason, &mut tally, &mut sinks);
                Server { collected, writer, reader, process }.end();
                orphans::end(&spared);
                self.say_if_quiet(&unprepared.reason, &mut sinks);
                let ending = Ending::Interrupted { reason: unprepared.reason, exit_code: None };
                return self.finish(sinks, Outcomes::without_plan(tally, ending), began);
            }
        };
        let retries = self.retries(&collected, items, &order, !ward.is_empty(), &mut sinks);
        forward(interrupts, events.0.clone());
        if let Some(daemon) = self.daemon.take() {
            listen_for_end(daemon, events.0.clone());
        }
        let here = self.options.workers == Workers::Exactly(0);
        // Plugins in the process that collected wait for the end, whoever runs the tests.
        let attended = !here && (collected.listens || collected.has_summary);
        let relay = if !here && collected.listens { Some(Relay::start(&mut writer)?) } else { None };
        let mut policy = self.policy(&collected, began);
        policy.tb = self.options.show.tb.map(|tb| tb.name());
        policy.verbosity = self.options.show.verbose;
        policy.reports = sinks.files.want_reports() || relay.is_some();
        let mut kept_writer = None;
        let mut attending = None;
        let host = if here {
            Host::Here { writer, process: process.take() }
        } else if self.spawns(&collected, &mut sinks) {
            if attended {
                attending = Some(Attending::start(reader, None));
                kept_writer = Some(writer);
            } else {
                Server { collected: collected.clone(), writer, reader, process: process.take() }.end();
            }
            let cwd = std::env::current_dir().context("cannot read the current folder")?;
            let mut options = vec![rootdir_option(&collected.rootdir, &cwd)];
            options.extend(collected.inipath.iter().flat_map(|path| ["-c".to_string(), path.clone()]));
            // As they were for the collection, which may be an earlier stage's.
            options.extend(collected.options.iter().cloned());
            Host::Spawn(SpawnRecipe {
                python: python.to_path_buf(),
                options,
                rootdir: PathBuf::from(&collected.rootdir),
                environment: self.environment.clone(),
            })
        } else {
            attending = Some(Attending::start(reader, Some(events.0.clone())));
            match self.deal.take() {
                Some(deal) => Host::Deal { writer, dealt: Dealt { rootdir: PathBuf::from(&collected.rootdir), deal } },
                None => Host::Fork(writer),
            }
        };
        let is_node = queued.is_some();
        let seen = events.1.clone();
        let (mut outcomes, host) = dispatcher::run(Dispatcher {
            items,
            // What a node runs it is told by the plan.
            order: if is_node { &[] } else { &order },
            ties: sharing.ties,
            times: sharing.times,
            environment,
            first_worker: self.first_worker,
            replays: self.options.replay.is_some(),
            host,
            workers: if here { 1 } else { workers },
            maxfail: self.options.maxfail.unwrap_or(collected.maxfail),
            // On the terminal pytest shows every phase.
            protocol: if here { Protocol::Full } else { self.options.protocol },
            live_output: collected.live_output,
            uid: run_uid(&self.head),
            policy,
            retries,
            ward,
            relay,
            queued,
            sinks: &mut sinks,
            events,
        });
        outcomes.tally.merge(&tally);
        let writer = match host {
            Host::Fork(writer) | Host::Deal { writer, .. } => Some(writer),
            Host::Spawn(_) | Host::Here { .. } => kept_writer,
        };
        if let Some(mut writer) = writer {
            // Of a plan only what this node ran.
            let of_plan = outcomes.queued.as_ref().map(|queued| &*queued.ran);
            let ran = of_plan.unwrap_or(if is_node { &[] } else { &order });
            let ran = if collected.holds_failures { ran } else { &[] };
            let ending = server::RunEnding {
                exit_code: self.exit(&outcomes).code(),
                failed: outcomes.tally.of(Outcome::Failed) + outcomes.tally.of(Outcome::Error),
                total: outcomes.tally.total(),
                reason: reason_of(&outcomes.ending),
                dealt: if collected.deals {
                    items.iter().map(|item| item.node_id.clone()).collect()
                } else {
                    Vec::new()
                },
                ..sinks.for_last_failed(items, ran)
            };
            // A server that is gone has said so already.
            let _ = writer.send(&server::Request::Finish(Box::new(ending)), &[]);
            writer.close();
        }
        if let (true, Some(attending)) = (attended, &attending) {
            let pid = process.as_ref().map(|process| process.pid() as i32);
            match attending.finished(&seen, pid) {
                Some((code, said)) => {
                    self.overruled = Some(code);
                    sinks.report.plugins(said);
                }
                None => {
                    self.overruled = Some(Exit::Internal.code());
                    sinks.report.note("the process whose plugins hear of tests ended before they had their say");
                }
            }
        }
        // What else was wrong here shows in the difference.
        let of_tests = exit_code(&Ending::Complete, &outcomes.tally, 0, true);
        let queued = outcomes.queued.take();
        let exit = self.finish(sinks, outcomes, began);
        if let Some(queued) = queued {
            let exit = exit.as_ref().map_or(Exit::Internal, |exit| *exit);
            if let Some(problem) = queued.leave(exit.code(), of_tests.code(), &seen) {
                say(&format!("rpt-run: the queue does not know that this node ended: {}", one_line(&problem)));
            }
        }
        // The server ends with its connection; it is waited for so that nothing outlives the run.
        if let Some(attending) = attending {
            attending.join();
        }
        if let Some(process) = &mut process {
            process.wait().context("cannot wait for the server")?;
        }
        orphans::end(&spared);
        if let Some(mut process) = process
            && exit.as_ref().is_ok_and(|exit| *exit == Exit::Internal)
        {
            // What a broken server said before it ended; a stderr that is closed has no reader.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), process.printed().as_bytes());
        }
        exit
    }

    /// Whether workers are to be interpreters of their own.
    fn spawns(&self, collected: &Collected, sinks: &mut Sinks) -> bool {
        match (self.options.exec, collected.fork_hazards.first()) {
            (Exec::Spawn, _) => true,
            (Exec::Fork, _) | (Exec::Auto, None) => false,
            (Exec::Auto, Some(hazard)) => {
                sinks.report.note(&format!(
                    "workers are started as interpreters of their own, because forking is unsafe with {hazard} (--exec fork forks all the same)"
                ));
                true
            }
        }
    }
}

fn reason_of(ending: &Ending) -> String {
    match ending {
        Ending::Interrupted { reason, .. } | Ending::Broken { reason } => reason.clone(),
        Ending::Complete | Ending::CollectionFailed => String::new(),
    }
}

fn ids_of(items: &[BriefItem], order: &[u32]) -> Vec<Box<str>> {
    order.iter().map(|&item| items[item as usize].node_id.clone()).collect()
}

fn give_not_run(ids: &[Box<str>], cause: &str, tally: &mut Tally, sinks: &mut Sinks) {
    for id in ids {
        let result = result::not_run(id, cause);
        tally.add(result.outcome);
        sinks.result(result);
    }
}

/// A name for the run, as xdist's testrunuid: 32 hex digits.
fn run_uid(head: &RunHead) -> String {
    let mut hasher = Sha256::new();
    hasher.update(head.started_at_us.to_le_bytes());
    hasher.update(std::process::id().to_le_bytes());
    hasher.update(head.host.as_bytes());
    hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
