//! Owns one context: a repository, an interpreter, pytest's options and an environment, and
//! the collection of them that is kept warm. Correct before warm: before a collection is
//! used, everything it depended on is compared with the disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::fixtures::{Fixtures, Ground};
use super::protocol::{Code, ContextStatus, Failure, RerunConfig};
use super::unpoisoned;
use super::warm::{Warm, WarmServer, end_aside, uncollected};
use crate::cli::PytestArgs;
use crate::collect::Question;
use crate::collect::held::{Held, Stale, hold};
use crate::interrupt::Interrupted;
use crate::inventory::hex_digest;
use crate::inventory::snapshot::Trust;
use crate::location::Location;
use crate::project::{HISTORY_VARIABLE, local_history, nearest_history};
use crate::python::environment_digests;
use crate::record::{CollectError, Test};
use crate::run::Exec;
use crate::server::{Bases, Launch, Place, Server};
use crate::settings;
use crate::test_id::file_of;
use crate::watching::Watching;

/// For how long a server that serves one client waits for it.
const ONE_CLIENT_SECONDS: u32 = 30;

/// How runs of a context are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In forks of the warm interpreter where that is safe.
    Auto,
    /// In forks of the warm interpreter.
    Embedded,
    /// In a fresh interpreter for each run.
    Subprocess,
}

impl Mode {
    /// The mode of that name; `None` for any other text.
    pub(crate) fn of(name: Option<&str>) -> Option<Mode> {
        match name {
            None | Some("auto") => Some(Mode::Auto),
            Some("embedded") => Some(Mode::Embedded),
            Some("subprocess") => Some(Mode::Subprocess),
            Some(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Embedded => "embedded",
            Mode::Subprocess => "subprocess",
        }
    }

    /// How workers are made.
    pub(crate) fn exec(self) -> Exec {
        if self == Mode::Embedded { Exec::Fork } else { Exec::Auto }
    }
}

/// What makes a context the one it is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The repository, links followed, and the client's environment.
    pub place: Place,
    /// The interpreter.
    pub python: PathBuf,
    /// How runs are executed.
    pub mode: Mode,
    /// pytest's own options.
    pub options: Vec<String>,
}

impl Identity {
    /// The context's name: 24 hex digits of all that it is made of.
    pub(crate) fn digest(&self) -> String {
        use std::os::unix::ffi::OsStrExt;
        let environment = environment_digests(self.place.environment.iter().cloned());
        let mut parts: Vec<&[u8]> = vec![
            self.place.folder.as_os_str().as_bytes(),
            self.python.as_os_str().as_bytes(),
            self.mode.name().as_bytes(),
        ];
        parts.extend(self.options.iter().map(String::as_bytes));
        parts.extend(environment.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        hex_digest(parts, 12)
    }
}

/// One context.
pub(crate) struct Context {
    pub id: String,
    pub identity: Identity,
    /// How many workers a run has that does not say; 0: as many as processors.
    pub workers: Mutex<u32>,
    /// How `run_with_rerun` runs failed tests again.
    pub rerun: Mutex<RerunConfig>,
    /// What stays alive between its runs.
    pub fixtures: Fixtures,
    /// Tests that ended, and the time they took, in microseconds.
    pub executed: (AtomicU64, AtomicU64),
    state: Mutex<State>,
    changed: Condvar,
    /// What its servers are forks of. Held by whoever collects.
    bases: Mutex<Bases>,
    /// pytest's, of the last collection.
    rootdir: Mutex<Option<PathBuf>>,
    /// It has collected once.
    was_warm: AtomicBool,
    /// Nobody asked for it by name.
    automatic: AtomicBool,
    used: Mutex<Instant>,
    /// Ends a collection that is going on.
    interrupts: (Sender<Interrupted>, Receiver<Interrupted>),
    /// For whoever notices a change.
    own: Weak<Context>,
    /// Where the next server will listen.
    sockets: PathBuf,
    next_socket: AtomicU64,
}

#[derive(Default)]
struct State {
    warm: Option<Warm>,
    /// Somebody collects.
    busy: bool,
    /// It was shut down.
    closed: bool,
}

/// What is known of a collection that holds.
pub(crate) struct View {
    pub hash: String,
    pub node_count: u64,
    pub collected_at: u64,
    pub rootdir: String,
}

impl Context {
    /// A context that has collected nothing yet. `sockets`: what its servers' sockets are
    /// called, without a number.
    pub(crate) fn new(id: String, identity: Identity, sockets: PathBuf, automatic: bool) -> Arc<Context> {
        Arc::new_cyclic(|own| Context {
            own: Weak::clone(own),
            id,
            identity,
            workers: Mutex::new(0),
            rerun: Mutex::default(),
            fixtures: Fixtures::default(),
            executed: Default::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            bases: Mutex::default(),
            rootdir: Mutex::default(),
            was_warm: AtomicBool::new(false),
            automatic: AtomicBool::new(automatic),
            used: Mutex::new(Instant::now()),
            interrupts: crossbeam_channel::unbounded(),
            sockets,
            next_socket: AtomicU64::new(0),
        })
    }

    /// Whether it has collected once.
    pub(crate) fn was_warm(&self) -> bool {
        self.was_warm.load(Ordering::Acquire)
    }

    /// Whether nobody asked for it by name.
    pub(crate) fn is_automatic(&self) -> bool {
        self.automatic.load(Ordering::Acquire)
    }

    /// It is used once more.
    pub(crate) fn is_used_by(&self, automatic: bool) {
        *unpoisoned(&self.used) = Instant::now();
        self.automatic.fetch_and(automatic, Ordering::AcqRel);
    }

    /// When it was used last.
    pub(crate) fn used_at(&self) -> Instant {
        *unpoisoned(&self.used)
    }

    fn pytest(&self) -> PytestArgs {
        PytestArgs { pytest_args: self.identity.options.clone(), ..PytestArgs::default() }
    }

    fn question<'a>(&'a self, pytest: &'a PytestArgs) -> Question<'a> {
        Question::elsewhere(pytest, self.identity.python.clone(), &self.identity.place)
    }

    /// The collection that holds now: the warm one where nothing it depended on changed,
    /// else a new one. `force`: a new one in any case. Who comes while somebody collects
    /// waits for that.
    fn ready(&self, force: bool) -> Result<MutexGuard<'_, State>, Failure> {
        let pytest = self.pytest();
        let question = self.question(&pytest);
        let mut state = unpoisoned(&self.state);
        loop {
            if state.closed {
                return Err(not_found(&self.id));
            }
            if state.busy {
                state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            let stale = match &mut state.warm {
                _ if force => Stale::Changed(vec!["it was asked for".to_string()]),
                Some(warm) if warm.errors.is_empty() => warm.inventory.stale(&question),
                Some(_) => Stale::Changed(vec!["files could not be collected".to_string()]),
                None => Stale::Changed(vec!["rpt-serve had none".to_string()]),
            };
            if stale == Stale::No {
                return Ok(state);
            }
            let before = state.warm.take();
            state.busy = true;
            drop(state);
            let warm = self.anew(&question, before, stale);
            state = unpoisoned(&self.state);
            state.busy = false;
            self.changed.notify_all();
            match warm {
                Ok(warm) if state.closed => {
                    warm.end();
                    return Err(not_found(&self.id));
                }
                Ok(warm) => {
                    self.was_warm.store(true, Ordering::Release);
                    state.warm = Some(warm);
                    return Ok(state);
                }
                Err(_) if state.closed => return Err(not_found(&self.id)),
                Err(error) => return Err(Failure::new(Code::CollectionFailed, format!("{error:#}"))),
            }
        }
    }

    /// Collects what is stale: the changed test files where that is enough, else everything.
    fn anew(&self, question: &Question, before: Option<Warm>, stale: Stale) -> anyhow::Result<Warm> {
        let mut before = before.map(|warm| (warm.inventory.head().clone(), warm));
        let reasons = match stale {
            Stale::No | Stale::Doubtful => Vec::new(),
            Stale::Changed(reasons) => reasons,
            Stale::Part(files, mut reasons) => {
                if let Some((head, warm)) = before.take() {
                    match warm.renewed(question, (files, reasons.clone()), &self.interrupts.1) {
                        Ok(warm) => return Ok(warm),
                        Err(why) if why.is::<Interrupted>() => return Err(why),
                        Err(why) => reasons.push(format!("not alone: {why:#}")),
                    }
                    let held = hold(question, (Some(head), reasons), |launch| self.start(launch))?;
                    return Ok(self.keep(held));
                }
                reasons
            }
        };
        let head = before.map(|(head, warm)| {
            warm.end_first();
            head
        });
        let held = hold(question, (head, reasons), |launch| self.start(launch))?;
        Ok(self.keep(held))
    }

    /// Starts a process that collects, as a fork of the base where that can be.
    fn start(&self, launch: &Launch) -> anyhow::Result<Server> {
        // What is wrong with the settings is told by the run that needs them.
        let preload = settings::read(&self.settled_in()).map(|settings| settings.preload).unwrap_or_default();
        unpoisoned(&self.bases).ready(launch, &preload, &self.interrupts.1)
    }

    /// Where the project's settings are: at pytest's rootdir, where that is known.
    fn settled_in(&self) -> PathBuf {
        let rootdir = unpoisoned(&self.rootdir).clone();
        rootdir.unwrap_or_else(|| self.identity.place.folder.clone())
    }

    /// Makes the server that collected wait for runs, where it can.
    fn keep(&self, held: Held) -> Warm {
        let Held { mut server, inventory } = held;
        *unpoisoned(&self.rootdir) = Some(PathBuf::from(&inventory.head().rootdir));
        let collected = &server.collected;
        let errors = collected.errors.clone();
        let unsafe_here = self.identity.mode == Mode::Auto && !collected.fork_hazards.is_empty();
        let serves = self.identity.mode != Mode::Subprocess && !unsafe_here && collected.refused.is_empty();
        // What acts at the end of a session can be used once.
        let once = collected.ends_itself || collected.listens || collected.has_summary;
        let number = self.next_socket.fetch_add(1, Ordering::Relaxed);
        let socket = PathBuf::from(format!("{}-{number}", self.sockets.display()));
        let kept = if serves && (once || server.stay(&socket).is_ok()) {
            if !once {
                self.watch_over(&server, socket.clone());
            }
            Some(WarmServer { server, socket, once, used: false })
        } else {
            end_aside(server);
            None
        };
        let collected_at = jiff::Timestamp::now().as_millisecond().max(0) as u64;
        let own = Weak::clone(&self.own);
        let watching = Watching::start(inventory.head(), move |_| {
            if let Some(context) = own.upgrade() {
                context.look_again();
            }
        });
        let is_lost = serves && kept.is_none();
        Warm { inventory, collected_at, errors, server: kept, is_lost, _watching: watching }
    }

    /// Notices when a server that stays is killed.
    fn watch_over(&self, server: &Server, socket: PathBuf) {
        let own = Weak::clone(&self.own);
        // One that is not watched over is missed when it is used.
        if let Ok(ending) = server.ending() {
            std::thread::spawn(move || {
                ending.wait();
                if let Some(context) = own.upgrade() {
                    context.lost(&socket);
                }
            });
        }
    }

    /// The server at `socket` has ended: another one takes its place. One that nobody had used
    /// yet is made when it is asked for: it might end as soon again.
    fn lost(&self, socket: &Path) {
        let mut state = unpoisoned(&self.state);
        let server = state.warm.as_ref().and_then(|warm| warm.server.as_ref());
        let Some(used) = server.filter(|kept| kept.socket == socket).map(|kept| kept.used) else {
            return;
        };
        if let Some(warm) = state.warm.take() {
            warm.end();
        }
        drop(state);
        if used {
            self.warm_again();
        }
    }

    /// Collects where that is needed, or in any case.
    pub(crate) fn collect(&self, force: bool) -> Result<u64, Failure> {
        let state = self.ready(force)?;
        let warm = whole(&state)?;
        Ok(warm.inventory.head().node_count)
    }

    /// What holds now.
    pub(crate) fn view(&self) -> Result<View, Failure> {
        let state = self.ready(false)?;
        Ok(whole(&state)?.view())
    }

    /// Whether what holds now is where rpt-collect looks for it.
    pub(crate) fn is_listed(&self) -> bool {
        let Ok(mut state) = self.ready(false) else { return false };
        let warm = state.warm.as_mut().filter(|warm| warm.errors.is_empty());
        warm.map(|warm| warm.inventory.is_written()).is_some()
    }

    /// Where its runs are remembered.
    pub(crate) fn store(&self) -> Location {
        let warm = unpoisoned(&self.state).warm.as_ref().map(|warm| warm.inventory.head().rootdir.clone());
        self.store_at(warm.as_deref())
    }

    /// The same where pytest's rootdir is that, or is not known.
    pub(crate) fn store_at(&self, rootdir: Option<&str>) -> Location {
        let folder = &self.identity.place.folder;
        if let Some(named) = self.identity.place.variable(HISTORY_VARIABLE).filter(|value| !value.is_empty()) {
            return Location::from(named).within(folder);
        }
        Location::File(match rootdir {
            Some(rootdir) => local_history(Path::new(rootdir)),
            None => nearest_history(folder).unwrap_or_else(|| local_history(folder)),
        })
    }

    /// The hash of the last collection; empty where there was none.
    pub(crate) fn known_hash(&self) -> String {
        let state = unpoisoned(&self.state);
        state.warm.as_ref().map(|warm| warm.inventory.head().inventory_hash.clone()).unwrap_or_default()
    }

    /// All tests.
    pub(crate) fn tests(&self) -> Result<(View, Vec<Test>), Failure> {
        let state = self.ready(false)?;
        let warm = whole(&state)?;
        let tests = warm.inventory.tests().map_err(|error| Failure::internal(format!("{error:#}")))?;
        Ok((warm.view(), tests))
    }

    /// The ids of the tests that `-k` and `-m` select.
    pub(crate) fn select(&self, keyword: Option<String>, marker: Option<String>) -> Result<Vec<String>, Failure> {
        let state = self.ready(false)?;
        let warm = whole(&state)?;
        let pytest = PytestArgs { keyword, marker, ..self.pytest() };
        match warm.inventory.select(&self.question(&pytest), &self.interrupts.1) {
            Ok(Ok(ids)) => Ok(ids),
            Ok(Err(message)) => Err(Failure::invalid(message)),
            Err(error) => Err(Failure::invalid(format!("{error:#}"))),
        }
    }

    /// A server for one run of `ids` (none: all), and what holds now. Without a server the
    /// run starts an interpreter of its own.
    pub(crate) fn lease(self: &Arc<Self>, ids: &[String]) -> Result<(Option<PathBuf>, View), Failure> {
        let mut state = self.ready(false)?;
        let Some(warm) = &mut state.warm else {
            return Err(Failure::internal("a collection was lost"));
        };
        // pytest collects the files that are named; what is wrong with others stops nothing.
        let concerned = |error: &&CollectError| {
            ids.is_empty() || ids.iter().any(|id| id.starts_with(&error.file_path) || file_of(id) == error.file_path)
        };
        if warm.errors.iter().any(|error| concerned(&error)) {
            return Err(uncollected(warm.errors.iter().filter(concerned)));
        }
        let view = warm.view();
        let Some(kept) = &mut warm.server else {
            if warm.is_lost {
                self.makes_another(state.warm.take());
            }
            return Ok((None, view));
        };
        kept.used = true;
        let socket = kept.socket.clone();
        if !kept.once {
            return Ok((Some(socket), view));
        }
        let waits = kept.server.linger(&kept.socket, ONE_CLIENT_SECONDS).is_ok();
        self.makes_another(state.warm.take());
        Ok((waits.then_some(socket), view))
    }

    /// The next run needs another process that collected than that one, which ends when it has served.
    fn makes_another(self: &Arc<Self>, used: Option<Warm>) {
        let context = Arc::clone(self);
        std::thread::spawn(move || {
            if let Some(server) = used.and_then(|warm| warm.server) {
                server.server.end();
            }
            context.warm_again();
        });
    }

    /// A server for a run of the daemon's own, what holds now, and whether the server keeps
    /// fixtures alive, where that is configured. `abandoned`: nobody waits any more.
    pub(crate) fn lease_for_run(
        self: &Arc<Self>,
        ids: &[String],
        abandoned: &dyn Fn() -> bool,
    ) -> Result<(Option<PathBuf>, View, bool), Failure> {
        let (server, view) = self.lease(ids)?;
        if !self.fixtures.config().enabled {
            return Ok((server, view, false));
        }
        let ground = || self.ground(server.as_deref());
        match self.fixtures.lease(&view.hash, &self.sockets, ground, abandoned) {
            Some(kept) => Ok((Some(kept), view, true)),
            None => Ok((server, view, false)),
        }
    }

    /// What a server that keeps fixtures is made from, or why none is made.
    fn ground(&self, server: Option<&Path>) -> Result<Ground, &'static str> {
        let server = server.ok_or("each run has an interpreter of its own here")?;
        let state = unpoisoned(&self.state);
        let warm = state.warm.as_ref().filter(|warm| warm.is_shared_at(server));
        let warm = warm.ok_or("the project or a plugin acts at the end of each session")?;
        let head = warm.inventory.head();
        if matches!(head.trust, Trust::Unproven(_) | Trust::Volatile(_)) {
            return Err("nobody can tell whether what was collected is still current (rpt-collect --why)");
        }
        if warm.server.as_ref().is_some_and(|kept| kept.server.collected.live_output) {
            return Err("what tests print goes to the run that is on, and fixtures hold that (pytest's -s, --capture)");
        }
        let rootdir = Path::new(&head.rootdir);
        let pytest = self.pytest();
        Ok(Ground {
            server: server.to_path_buf(),
            inventory_hash: head.inventory_hash.clone(),
            dependencies: head.dependencies.clone(),
            environment: self.question(&pytest).environment.clone(),
            test_files: head.blocks.iter().map(|block| rootdir.join(&block.file_path)).collect(),
        })
    }

    /// Something may have changed: what did is collected again before somebody asks.
    fn look_again(&self) {
        self.fixtures.look_again();
        if unpoisoned(&self.state).warm.is_some() {
            // Whoever asks is told what is wrong.
            drop(self.ready(false));
        }
    }

    /// Collects where a run used up what there was, before somebody asks for it.
    pub(crate) fn warm_again(&self) {
        if unpoisoned(&self.state).warm.is_none() {
            // Whoever asks is told what is wrong.
            drop(self.ready(false));
        }
    }

    /// What people are told of it. Does not wait for who uses it.
    pub(crate) fn status(&self) -> ContextStatus {
        let held = match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let (state, idle) = (held.as_deref(), State::default());
        let (state, is_used) = (state.unwrap_or(&idle), state.is_none());
        let server = state.warm.as_ref().and_then(|warm| warm.server.as_ref());
        let bases = self.bases.try_lock().ok();
        let pid = server.and_then(|warm| u32::try_from(warm.server.collected.pid).ok());
        ContextStatus {
            context_id: self.id.clone(),
            repo_path: self.identity.place.folder.display().to_string(),
            python: self.identity.python.display().to_string(),
            mode: self.identity.mode.name(),
            state: match (&state.warm, state.busy) {
                _ if is_used => "in use",
                (_, true) => "collecting",
                (Some(Warm { server: Some(_), .. }), _) => "warm",
                (Some(_), _) => "cold",
                (None, _) => "new",
            },
            node_count: state.warm.as_ref().map_or(0, |warm| warm.inventory.head().node_count),
            server_pid: pid,
            server_memory_kb: pid.and_then(super::memory_kb),
            base_pid: bases.as_ref().and_then(|bases| bases.pid()),
            not_preloaded: bases.map(|bases| bases.notes().to_vec()).unwrap_or_default(),
        }
    }

    /// Ends it: its server goes, a collection is broken off.
    pub(crate) fn close(&self) {
        let mut state = unpoisoned(&self.state);
        state.closed = true;
        if state.busy {
            // Whoever collects sees that it is closed, and this is how it comes to an end soon.
            let _ = self.interrupts.0.send(Interrupted { signal: nix::sys::signal::Signal::SIGTERM, typed: false });
        }
        let warm = state.warm.take();
        self.changed.notify_all();
        drop(state);
        if let Some(warm) = warm {
            warm.end();
        }
        // Whoever collects has it, and was told to stop: it ends with the context.
        if let Ok(mut bases) = self.bases.try_lock() {
            bases.end();
        }
        self.fixtures.close();
    }
}

/// The collection, where every file could be collected.
fn whole<'a>(state: &'a MutexGuard<'_, State>) -> Result<&'a Warm, Failure> {
    let warm = state.warm.as_ref().ok_or_else(|| Failure::internal("a collection was lost"))?;
    if warm.errors.is_empty() { Ok(warm) } else { Err(uncollected(warm.errors.iter())) }
}

/// There is no such context.
pub(crate) fn not_found(id: &str) -> Failure {
    let id = super::protocol::shortened(id);
    Failure::new(Code::ContextNotFound, format!("there is no context {id:?}; init_context makes one"))
}

/// Milliseconds since `began`.
pub(crate) fn elapsed_ms(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}
