//! Owns one worker as the dispatcher sees it: its pipes, what it was given, what
//! it claimed and began. Knows nothing of other workers.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::event::Event;
use super::message::{Message, parse};
use super::needs::Held;
use super::overdue::Watch;
use super::plan::{Numbers, Unit};
use crate::report::WorkerStats;
use crate::server::Board;

/// Written where a worker asks for the next item and none is known for now.
/// The shim's side: `NO_NEXT` in `wire.py`.
const NO_NEXT: u32 = u32::MAX;

/// While messages come faster than this, they are read in batches: a wake-up
/// costs about as much processor time as a trivial test's report.
const NAP: Duration = Duration::from_millis(2);

/// From so many reads in a row that follow each other faster: what a worker says around one test and
/// at its end is less, and somebody waits for that.
const NAPS_FROM: u32 = 8;

/// How often a reader looks whether its worker is gone although something the
/// worker started still holds the pipe open.
const LOOK: u16 = 50;

/// How much of a worker's uncaptured output is kept for the message about its death.
const TAIL: usize = 16 << 10;

/// One worker.
pub(super) struct Slot {
    /// `gw0`, … or `master`.
    pub name: String,
    /// Its process, once it is known.
    pub pid: Option<i32>,
    /// Items it was given and has not begun, in order.
    pub given: VecDeque<u32>,
    /// Items meant for it that are not in its pipe yet.
    pub backlog: Unit,
    /// What it runs, and since when.
    pub running: Option<(u32, Instant)>,
    /// What it holds until all that it set up is torn down.
    pub staying: Held,
    /// How much waited when nobody else could have any of it.
    pub unmovable: Option<usize>,
    /// It was told that there is no next item for now.
    pub told_no_next: bool,
    /// Its process ended, with this wait status.
    pub status: Option<i32>,
    /// How many of its result and output pipes are not read to the end yet.
    pub open_pipes: u8,
    /// It said that its session ended by itself.
    pub finished: bool,
    /// Tests it ended, and the time they took, in seconds.
    pub done: (u32, f64),
    /// When it was asked for, and how long its first test then took to begin.
    pub began: (Instant, Option<Duration>),
    /// How long it waited for items, in seconds, once it has said it.
    pub waited_s: Option<f64>,
    /// What fixtures of module and of session scope took of the item it runs, in seconds, as far as it said.
    pub set_up_s: (f64, f64),
    /// The end of its uncaptured output.
    pub tail: Vec<u8>,
    /// Item numbers as this worker counts them; `None`: as the dispatcher does.
    pub numbers: Option<Numbers>,
    /// It can be given items.
    pub ready: bool,
    /// It reported a failure.
    pub failed: bool,
    /// What it says of what it does.
    pub board: Board,
    /// pytest's own reports of the test that ends.
    pub reports: Vec<Box<str>>,
    /// What the test that ends left behind.
    pub leaks: Vec<String>,
    /// The time of what it runs.
    pub watch: Watch,
    work: Option<PipeWriter>,
    unclaimed: Option<PipeReader>,
    /// Open as long as this process and the worker live.
    lifeline: Option<PipeWriter>,
    gone: Arc<AtomicBool>,
}

impl Slot {
    /// A worker at the other end of these pipes. Starts the threads that read them.
    pub(super) fn new(
        index: usize,
        name: String,
        pipes: (PipeWriter, PipeReader, PipeReader, PipeReader, PipeWriter),
        board: Board,
        events: &Sender<Event>,
    ) -> Slot {
        let (work, unclaimed, results, output, lifeline) = pipes;
        let gone = Arc::new(AtomicBool::new(false));
        let (sender, flag) = (events.clone(), Arc::clone(&gone));
        std::thread::spawn(move || read_results(index, results, &sender, &flag));
        let (sender, flag) = (events.clone(), Arc::clone(&gone));
        std::thread::spawn(move || read_output(index, output, &sender, &flag));
        Slot {
            name,
            pid: None,
            given: VecDeque::new(),
            backlog: Unit::new(),
            running: None,
            staying: Held::new(),
            unmovable: None,
            told_no_next: false,
            status: None,
            open_pipes: 2,
            finished: false,
            done: (0, 0.0),
            began: (Instant::now(), None),
            waited_s: None,
            set_up_s: (0.0, 0.0),
            tail: Vec::new(),
            numbers: None,
            ready: true,
            failed: false,
            board,
            reports: Vec::new(),
            leaks: Vec::new(),
            watch: Watch::default(),
            work: Some(work),
            unclaimed: Some(unclaimed),
            lifeline: Some(lifeline),
            gone,
        }
    }

    /// What `--stats` says of it.
    pub(super) fn stats(&self) -> WorkerStats {
        WorkerStats {
            name: self.name.clone(),
            tests: self.done.0,
            tests_s: self.done.1,
            began: self.began.1,
            waited_s: self.waited_s,
        }
    }

    /// Whether it can be given more.
    pub(super) fn is_open(&self) -> bool {
        self.work.is_some() && self.status.is_none() && !self.finished
    }

    /// Whether it and all its pipes have come to their end.
    pub(super) fn is_over(&self) -> bool {
        self.status.is_some() && self.open_pipes == 0
    }

    /// Moves up to `count` items from the backlog into its pipe.
    pub(super) fn feed(&mut self, count: usize) {
        let items: Vec<u32> = self.backlog.drain(..count.min(self.backlog.len())).collect();
        if !items.is_empty() {
            self.told_no_next = false;
            self.write(&items);
            self.given.extend(items);
        }
    }

    /// Says that there is no next item for now.
    pub(super) fn tell_no_next(&mut self) {
        if !self.told_no_next {
            self.told_no_next = true;
            self.write(&[NO_NEXT]);
        }
    }

    /// Says that nothing comes any more: it ends its session after what it has.
    pub(super) fn close(&mut self) {
        self.work = None;
    }

    /// Takes back what it has not claimed, in order. What it claimed stays in `given`.
    pub(super) fn take_back(&mut self) -> Vec<u32> {
        let mut taken = Vec::new();
        let mut bytes = [0; 4096];
        // It never waits: what the worker claims meanwhile is the worker's.
        while let Some(Ok(count @ 1..)) = self.unclaimed.as_mut().map(|pipe| pipe.read(&mut bytes)) {
            let parts = bytes[..count].chunks_exact(4);
            taken.extend(parts.map(|part| u32::from_le_bytes([part[0], part[1], part[2], part[3]])));
        }
        if taken.contains(&NO_NEXT) {
            self.told_no_next = false;
        }
        taken.retain(|&number| number != NO_NEXT);
        let kept = self.given.len() - taken.len().min(self.given.len());
        let mut back: Vec<u32> = self.given.drain(kept..).collect();
        back.extend(self.backlog.drain(..));
        back
    }

    /// What it has not begun to run, the claimed item included.
    pub(super) fn waiting(&self) -> usize {
        self.given.len() + self.backlog.len()
    }

    /// Mean time of its tests so far, in seconds.
    pub(super) fn mean(&self) -> f64 {
        if self.done.0 == 0 { 0.0 } else { self.done.1 / f64::from(self.done.0) }
    }

    /// Sends `signal` to the process alone, as a terminal's Ctrl-C would.
    pub(super) fn signal(&self, signal: Signal) {
        if let (Some(pid), None) = (self.pid, self.status) {
            // It may be gone already.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Whether it was told to end because of another test than `item`.
    pub(super) fn is_overdue_but_for(&self, item: u32) -> bool {
        self.watch.overdue.as_ref().is_some_and(|overdue| overdue.item.is_some_and(|late| late != item))
    }

    /// Sends `signal` to the process and everything it started that stayed in its group.
    pub(super) fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.pid
            && killpg(Pid::from_raw(pid), signal).is_err()
        {
            // Without workers the process has no group of its own.
            self.signal(signal);
        }
    }

    /// Ends the process and everything it started that stayed in its group.
    pub(super) fn kill_group(&self) {
        if let Some(pid) = self.pid {
            // An empty group is what is wanted.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            self.signal(Signal::SIGKILL);
        }
    }

    /// Its process ended.
    pub(super) fn ended(&mut self, status: i32) {
        self.status = Some(status);
        self.gone.store(true, Ordering::Release);
        self.work = None;
        self.unclaimed = None;
        self.lifeline = None;
    }

    /// It is this run's no more, and its process goes on: nothing of it is ended here.
    pub(super) fn released(&mut self) {
        self.pid = None;
        self.ended(0);
    }

    /// Keeps the end of what it printed outside capture.
    pub(super) fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    fn write(&mut self, items: &[u32]) {
        let number = |item: &u32| match &self.numbers {
            Some(numbers) if *item != NO_NEXT => numbers.to_worker.get(item).copied().unwrap_or(NO_NEXT),
            _ => *item,
        };
        let bytes: Vec<u8> = items.iter().flat_map(|item| number(item).to_le_bytes()).collect();
        if let Some(work) = &mut self.work {
            // A worker that died meanwhile is seen by its end; what it was given comes back then.
            let _ = work.write_all(&bytes);
        }
    }
}

/// Sends what the worker reports, in batches, until its end.
fn read_results(slot: usize, mut pipe: PipeReader, events: &Sender<Event>, gone: &AtomicBool) {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut last_batch = Instant::now();
    let mut fast = 0;
    while let Some(count) = next_read(&mut pipe, &mut chunk, gone) {
        buffer.extend_from_slice(&chunk[..count]);
        let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
        let lines = buffer[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let batch: Vec<Result<Message, String>> =
            lines.map(|line| parse(line).map_err(|error| error.to_string())).collect();
        buffer.drain(..whole);
        if !batch.is_empty() && events.send(Event::Messages(slot, batch)).is_err() {
            return;
        }
        fast = if last_batch.elapsed() < NAP { fast + 1 } else { 0 };
        if fast >= NAPS_FROM {
            std::thread::sleep(NAP);
        }
        last_batch = Instant::now();
    }
    // The dispatcher may be gone already.
    let _ = events.send(Event::Drained(slot));
}

/// Sends what the worker prints outside capture.
fn read_output(slot: usize, mut pipe: PipeReader, events: &Sender<Event>, gone: &AtomicBool) {
    let mut chunk = vec![0; 16 << 10];
    while let Some(count) = next_read(&mut pipe, &mut chunk, gone) {
        if events.send(Event::Output(slot, chunk[..count].to_vec())).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Drained(slot));
}

/// Reads what comes next; `None` at the end of the pipe, or when the worker is
/// gone and the pipe, which a process it left behind may hold open, is empty.
fn next_read(pipe: &mut PipeReader, chunk: &mut [u8], gone: &AtomicBool) -> Option<usize> {
    loop {
        let was_gone = gone.load(Ordering::Acquire);
        if is_readable(pipe, LOOK.into()) {
            match pipe.read(chunk) {
                Ok(0) => return None,
                Ok(count) => return Some(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        } else if was_gone {
            return None;
        }
    }
}

fn is_readable(pipe: &PipeReader, timeout: PollTimeout) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    // A poll that fails (interrupted) is asked again by the caller's loop.
    poll(&mut polled, timeout).is_ok_and(|ready| ready > 0)
}
