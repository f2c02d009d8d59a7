//! Owns the runs of the daemon: each is a process of its own in the client's folder and
//! environment, whose records are read here as they come. Nothing of one run can reach
//! another, and whatever a run breaks, the daemon lives.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::context::Context;
use super::order::{Order, RUN};
use super::protocol::{Code, Failure, Progressed, RerunConfig, RunRequest, Totals, shortened};
use super::{own_program, unpoisoned};
use crate::outcome::Outcome;
use crate::record::{RunComplete, Started, TestResult};
use crate::server::starting;

/// How long a run that is over can be asked for.
const KEPT: Duration = Duration::from_secs(600);

/// So many runs may wait or be on: more are refused, not stored up.
const MOST: usize = 256;

/// How long a cancelled run may take to tear down what runs, before it is killed. A second
/// longer than it waits itself for its workers.
const CANCEL_GRACE: Duration = Duration::from_secs(11);

/// How much of what a run's process says on stderr is kept.
const SAID: u64 = 64 << 10;

/// A run that was begun to be asked for and whose client is gone is broken off when nobody
/// asked for so long: time enough to connect again, and none to fill a machine with.
const ABANDONED: Duration = Duration::from_secs(30);

/// How often a client that waits for a run is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// All runs.
pub(crate) struct Runs {
    known: Mutex<HashMap<String, Arc<Run>>>,
    /// Who may begin next.
    turn: Mutex<Turn>,
    moved: Condvar,
    /// So many are on at a time.
    at_a_time: usize,
}

#[derive(Default)]
struct Turn {
    on: usize,
    waiting: VecDeque<u64>,
    next: u64,
}

/// One run.
pub(crate) struct Run {
    pub id: String,
    pub context_id: String,
    cancelled: AtomicBool,
    /// Its time was over: why it came to no end.
    overdue: Mutex<Option<Failure>>,
    state: Mutex<RunState>,
    changed: Condvar,
    process: Mutex<Option<Child>>,
}

#[derive(Default)]
struct RunState {
    total: u64,
    results: Vec<Progressed>,
    /// By worker: the test it runs.
    running: HashMap<String, String>,
    /// How many results were told to whoever asks without `since`.
    told: usize,
    asked_at: Option<Instant>,
    outcome: Option<Result<Totals, Failure>>,
    ended_at: Option<Instant>,
}

/// What a client is told of a run that is on.
pub(crate) struct Progress {
    pub total: u64,
    pub completed: u64,
    pub running: u64,
    pub done: bool,
    pub results: Vec<Progressed>,
    /// Why it came to no end, where it did not.
    pub failure: Option<Failure>,
}

impl Runs {
    pub(crate) fn new(at_a_time: usize) -> Runs {
        Runs { known: Mutex::default(), turn: Mutex::default(), moved: Condvar::new(), at_a_time }
    }

    /// Begins a run. `total`: how many tests are expected, as far as it is known yet.
    pub(crate) fn start(
        self: &Arc<Self>,
        context: &Arc<Context>,
        request: RunRequest,
        reruns: Option<RerunConfig>,
        total: u64,
    ) -> Result<Arc<Run>, Failure> {
        let mut known = unpoisoned(&self.known);
        known.retain(|_, run| run.is_kept());
        if known.values().filter(|run| !run.is_done()).count() >= MOST {
            return Err(Failure::invalid(format!("{MOST} runs wait already")));
        }
        let limit = request.timeout_seconds.map(limit_of).transpose()?;
        let run = Arc::new(Run {
            id: new_id(&context.id),
            context_id: context.id.clone(),
            cancelled: AtomicBool::new(false),
            overdue: Mutex::new(None),
            state: Mutex::new(RunState { total, ..RunState::default() }),
            changed: Condvar::new(),
            process: Mutex::new(None),
        });
        known.insert(run.id.clone(), Arc::clone(&run));
        drop(known);
        let (runs, context, own) = (Arc::clone(self), Arc::clone(context), Arc::clone(&run));
        std::thread::spawn(move || {
            let outcome = match runs.wait_for_turn(&own) {
                true => {
                    let outcome = own.perform(&context, &request, reruns);
                    runs.pass_turn();
                    outcome
                }
                false => Err(Failure::internal("the run was cancelled before it began")),
            };
            own.end(outcome);
        });
        if let Some(limit) = limit {
            let (runs, own) = (Arc::clone(self), Arc::clone(&run));
            std::thread::spawn(move || runs.limit(&own, limit));
        }
        Ok(run)
    }

    /// Waits until the run may begin; false: it was cancelled.
    fn wait_for_turn(&self, run: &Run) -> bool {
        let mut turn = unpoisoned(&self.turn);
        let ticket = turn.next;
        turn.next += 1;
        turn.waiting.push_back(ticket);
        loop {
            if run.cancelled.load(Ordering::Acquire) {
                turn.waiting.retain(|waiting| *waiting != ticket);
                self.moved.notify_all();
                return false;
            }
            if turn.on < self.at_a_time && turn.waiting.front() == Some(&ticket) {
                turn.waiting.pop_front();
                turn.on += 1;
                self.moved.notify_all();
                return true;
            }
            turn = self.moved.wait(turn).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn pass_turn(&self) {
        unpoisoned(&self.turn).on -= 1;
        self.moved.notify_all();
    }

    /// The run of that name in a context.
    pub(crate) fn find(&self, context_id: &str, run_id: &str) -> Result<Arc<Run>, Failure> {
        let mut known = unpoisoned(&self.known);
        known.retain(|_, run| run.is_kept());
        let found = known.get(run_id).filter(|run| run.context_id == context_id).cloned();
        found.ok_or_else(|| Failure::invalid(format!("there is no run {:?} in this context", shortened(run_id))))
    }

    /// Breaks off a run: what runs is torn down, what waits is not run.
    pub(crate) fn cancel(&self, run: &Run) {
        run.cancelled.store(true, Ordering::Release);
        // So that one that waits for its turn sees it, and none begins between.
        drop(unpoisoned(&self.turn));
        self.moved.notify_all();
        run.signal(Signal::SIGINT);
    }

    /// Breaks off a run that is not over by then.
    fn limit(&self, run: &Run, limit: Duration) {
        if Instant::now().checked_add(limit).is_none_or(|until| run.wait_until(until)) {
            return;
        }
        let Progress { completed, total, .. } = run.progress(Some(u64::MAX));
        let message =
            format!("the run was not over after {} s: {completed} of {total} tests had ended", limit.as_secs_f64());
        *unpoisoned(&run.overdue) = Some(Failure::new(Code::Timeout, message));
        self.cancel(run);
        if !run.wait_until(Instant::now() + CANCEL_GRACE) {
            run.signal(Signal::SIGKILL);
            // It may still collect: its client is answered now.
            run.end(Err(Failure::internal("the run came to no end")));
        }
    }

    /// The client that began it is gone: unless somebody else asks for it, it is broken off.
    pub(crate) fn abandon(self: &Arc<Self>, run: &Arc<Run>) {
        let (runs, run) = (Arc::clone(self), Arc::clone(run));
        unpoisoned(&run.state).asked_at = Some(Instant::now());
        std::thread::spawn(move || {
            loop {
                let asked_at = unpoisoned(&run.state).asked_at.unwrap_or_else(Instant::now);
                let until = asked_at + ABANDONED;
                if run.wait_until(until) {
                    return;
                }
                if unpoisoned(&run.state).asked_at == Some(asked_at) {
                    return runs.cancel(&run);
                }
            }
        });
    }

    /// Forgets runs that nobody needs to know any more; how long it is until the next one is
    /// forgotten, where one has ended.
    pub(crate) fn forget_old(&self) -> Option<Duration> {
        let mut known = unpoisoned(&self.known);
        known.retain(|_, run| run.is_kept());
        known.values().filter_map(|run| run.kept_for()).min()
    }

    /// Breaks off all runs of a context, or all, and waits for their end.
    pub(crate) fn cancel_all(&self, context_id: Option<&str>) {
        let concerned: Vec<Arc<Run>> = unpoisoned(&self.known)
            .values()
            .filter(|run| !run.is_done() && context_id.is_none_or(|id| run.context_id == id))
            .cloned()
            .collect();
        concerned.iter().for_each(|run| self.cancel(run));
        let until = Instant::now() + CANCEL_GRACE;
        for run in &concerned {
            if !run.wait_until(until) {
                run.signal(Signal::SIGKILL);
                run.wait_until(Instant::now() + CANCEL_GRACE);
            }
        }
    }

    /// How many are waiting or on.
    pub(crate) fn unfinished(&self) -> u64 {
        unpoisoned(&self.known).values().filter(|run| !run.is_done()).count() as u64
    }

    /// How many workers run a test of this context now.
    pub(crate) fn active_workers(&self, context_id: &str) -> u32 {
        let known = unpoisoned(&self.known);
        let of_context = known.values().filter(|run| run.context_id == context_id);
        of_context.map(|run| unpoisoned(&run.state).running.len() as u32).sum()
    }

    /// Waits for the end of a run; `gone` says whether its client is. Then it is broken off.
    pub(crate) fn wait(&self, run: &Run, gone: impl Fn() -> bool) -> Result<Totals, Failure> {
        let mut cancelled_at: Option<Instant> = None;
        loop {
            if run.wait_until(Instant::now() + LOOK) {
                let state = unpoisoned(&run.state);
                return state.outcome.clone().unwrap_or_else(|| Err(Failure::internal("the run came to no end")));
            }
            match cancelled_at {
                None if gone() => {
                    self.cancel(run);
                    cancelled_at = Some(Instant::now());
                }
                Some(since) if since.elapsed() > CANCEL_GRACE => run.signal(Signal::SIGKILL),
                _ => {}
            }
        }
    }
}

impl Run {
    /// Runs the tests in a process of their own.
    fn perform(
        &self,
        context: &Arc<Context>,
        request: &RunRequest,
        reruns: Option<RerunConfig>,
    ) -> Result<Totals, Failure> {
        let abandoned = || self.cancelled.load(Ordering::Acquire);
        let (server, view, keeps) = context.lease_for_run(&request.node_ids, &abandoned)?;
        if request.node_ids.is_empty() {
            unpoisoned(&self.state).total = view.node_count;
        }
        let broken = |what: &str, error: &dyn std::fmt::Display| Failure::internal(format!("{what}: {error}"));
        let identity = &context.identity;
        let workers = request.workers.unwrap_or(*unpoisoned(&context.workers));
        let order = Order {
            server,
            python: identity.python.clone(),
            options: identity.options.clone(),
            rootdir: view.rootdir,
            node_ids: (!request.node_ids.is_empty()).then(|| request.node_ids.clone()),
            // There is one of each fixture that is kept.
            workers: if keeps { Some(1) } else { (workers > 0).then_some(workers) },
            maxfail: request.maxfail,
            exec: identity.mode.exec(),
            reruns,
        };
        let mut command = Command::new(own_program());
        command.arg(RUN).env_clear().envs(identity.place.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&identity.place.folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = {
            let _alone = starting();
            command.spawn()
        };
        let mut child = spawned.map_err(|error| broken("cannot start the run", &error))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        *unpoisoned(&self.process) = Some(child);
        if self.cancelled.load(Ordering::Acquire) {
            self.signal(Signal::SIGINT);
        }
        if let Some(mut input) = input {
            let order = serde_json::to_vec(&order).map_err(|error| broken("cannot say what to run", &error))?;
            // Where it ended already its end says why.
            let _ = input.write_all(&order);
        }
        let saying = std::thread::spawn(move || {
            let mut said = String::new();
            let mut errors = errors?;
            errors.by_ref().take(SAID).read_to_string(&mut said).ok()?;
            // Nothing it says may block it.
            std::io::copy(&mut errors, &mut std::io::sink()).ok()?;
            Some(said)
        });
        let totals = output.map(|output| self.read(context, output)).transpose();
        let process = unpoisoned(&self.process).take();
        if let Some(mut process) = process {
            // Its records have ended, so it ends.
            let _ = process.wait();
        }
        let said = saying.join().ok().flatten().unwrap_or_default();
        match totals {
            Ok(Some(Some(totals))) => Ok(totals),
            Ok(_) => Err(Failure::internal(format!("the run ended early: {}", said.trim()))),
            Err(error) => Err(Failure::internal(format!("{error:#}: {}", said.trim()))),
        }
    }

    /// Reads the records of a run to their end.
    fn read(&self, context: &Context, output: impl Read) -> anyhow::Result<Option<Totals>> {
        let mut totals = None;
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            match serde_json::from_slice::<Typed>(&line)?.kind {
                "started" => {
                    let started: Started = serde_json::from_slice(&line)?;
                    unpoisoned(&self.state).running.insert(started.worker, started.node_id);
                }
                "result" => self.take_result(context, serde_json::from_slice(&line)?),
                "run_complete" => totals = Some(totals_of(&serde_json::from_slice(&line)?)),
                _ => {}
            }
            line.clear();
        }
        Ok(totals)
    }

    fn take_result(&self, context: &Context, result: TestResult) {
        if result.outcome != Outcome::NotRun {
            context.executed.0.fetch_add(1, Ordering::Relaxed);
            context.executed.1.fetch_add((result.duration_ms * 1000.0) as u64, Ordering::Relaxed);
        }
        let mut state = unpoisoned(&self.state);
        if let Some(worker) = &result.worker
            && state.running.get(worker) == Some(&result.node_id)
        {
            state.running.remove(worker);
        }
        let message = result.message.or(result.cause);
        state.results.push(Progressed {
            node_id: result.node_id,
            outcome: result.outcome.name(),
            duration_ms: result.duration_ms.round() as u64,
            message,
        });
        drop(state);
        self.changed.notify_all();
    }

    fn end(&self, outcome: Result<Totals, Failure>) {
        let overdue = unpoisoned(&self.overdue).clone();
        let outcome = overdue.map_or(outcome, Err);
        let mut state = unpoisoned(&self.state);
        if state.outcome.is_some() {
            return;
        }
        if let Ok(totals) = &outcome {
            state.total = totals.total;
        }
        state.running.clear();
        state.outcome = Some(outcome);
        state.ended_at = Some(Instant::now());
        drop(state);
        self.changed.notify_all();
    }

    /// Results from `since` on, or those that nobody was told yet.
    pub(crate) fn progress(&self, since: Option<u64>) -> Progress {
        let mut state = unpoisoned(&self.state);
        state.asked_at = Some(Instant::now());
        let from = since.map_or(state.told, |since| usize::try_from(since).unwrap_or(usize::MAX));
        let results = state.results.get(from..).unwrap_or_default().to_vec();
        state.told = state.results.len();
        Progress {
            total: state.total,
            completed: state.results.len() as u64,
            running: state.running.values().collect::<HashSet<_>>().len() as u64,
            done: state.outcome.is_some(),
            results,
            failure: state.outcome.as_ref().and_then(|outcome| outcome.as_ref().err().cloned()),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        unpoisoned(&self.state).outcome.is_some()
    }

    fn is_kept(&self) -> bool {
        self.kept_for().is_none_or(|left| !left.is_zero())
    }

    /// For how long it can still be asked for; `None`: it is not over.
    fn kept_for(&self) -> Option<Duration> {
        unpoisoned(&self.state).ended_at.map(|at| KEPT.saturating_sub(at.elapsed()))
    }

    /// Waits for its end, until then; false: it goes on.
    fn wait_until(&self, until: Instant) -> bool {
        let mut state = unpoisoned(&self.state);
        while state.outcome.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn signal(&self, signal: Signal) {
        // Whoever waits for it takes it out first: the number is still its own.
        if let Some(child) = &*unpoisoned(&self.process) {
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }
}

fn limit_of(seconds: f64) -> Result<Duration, Failure> {
    let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero());
    limit.ok_or_else(|| Failure::invalid("timeout_seconds is a number of seconds, more than 0"))
}

/// The type of a record.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

fn totals_of(complete: &RunComplete) -> Totals {
    Totals {
        total: complete.total,
        passed: complete.passed,
        failed: complete.failed,
        skipped: complete.skipped,
        errors: complete.errors,
        duration_ms: complete.duration_ms.round() as u64,
        xfailed: complete.xfailed,
        xpassed: complete.xpassed,
        not_run: complete.not_run,
        flaky: complete.flaky,
    }
}

/// A name that no other run has: 24 hex digits.
pub(super) fn new_id(context: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut hasher = Sha256::new_with_prefix(context);
    hasher.update(std::process::id().to_le_bytes());
    hasher.update(jiff::Timestamp::now().as_nanosecond().to_le_bytes());
    hasher.update(COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hasher.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
