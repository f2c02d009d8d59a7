//! Owns the thread that speaks for a node: it leases, completes and says that the node is there, and
//! connects again where the server went away. Knows nothing of how tests are run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::QueueError;
use super::join::Joined;
use super::lease::{Completed, Desk, Leased, Place, Standing, Wanted};
use crate::exit::Exit;
use crate::location::ServerUrl;
use crate::record::TestResult;

/// How soon a node that found nothing to do asks again: at first, and at the latest.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How soon a connection is tried again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// So often within a lease a node says that it is there.
const BEATS: u32 = 4;

/// What a node has to say to its dispatcher.
#[derive(Debug)]
pub enum Said {
    /// It may run this.
    Leased(Leased),
    /// Whether the verdicts of a unit count: not where its lease was another's by then.
    Settled {
        /// Which unit.
        unit: i64,
        /// They count.
        counts: bool,
    },
    /// Tests that nodes do not survive: this node gave them their verdict.
    Buried(Vec<(u32, TestResult)>),
    /// How many other nodes are there.
    Others(u64),
    /// Nothing is left to lease, and nobody has anything.
    Over,
    /// The server does not answer; it is tried again.
    Away(String),
    /// It does.
    Back,
    /// It did not for so long that the node gives up, or what it says makes no sense.
    GivenUp(String),
}

/// What the dispatcher asks of its node.
enum Order {
    Want(Wanted),
    Complete(Completed),
    Leave { exit_code: u8, of_tests: u8, told: Sender<Option<String>> },
}

/// A node's thread, to whoever runs the tests.
pub struct NodeHandle {
    orders: Sender<Order>,
}

impl NodeHandle {
    /// Starts the thread. `say`: hands on what it says, false once nobody hears it. `patience`: for how
    /// long a server is tried that is away.
    pub fn start(joined: Joined, patience: Duration, say: impl FnMut(Said) -> bool + Send + 'static) -> NodeHandle {
        let (orders, receiver) = unbounded();
        let node = Node {
            url: joined.desk.url.clone(),
            place: joined.desk.place.clone(),
            desk: Some(joined.desk),
            say: Box::new(say),
            patience,
            orders: receiver,
            wanted: None,
            held: HashMap::new(),
            completed: Vec::new(),
            idle: Duration::ZERO,
            idle_since: Some(Instant::now()),
            beat_at: Instant::now(),
            ask_at: Instant::now(),
            pause: ASK_AGAIN.0,
            others: None,
            heard_at: Instant::now(),
            in_touch_since: Instant::now(),
        };
        std::thread::spawn(move || node.run());
        NodeHandle { orders }
    }

    /// Asks for a unit: it is said once there is one.
    pub fn want(&self, wanted: Wanted) {
        // A node that gave up has said so.
        let _ = self.orders.send(Order::Want(wanted));
    }

    /// Hands in a unit.
    pub fn complete(&self, completed: Completed) {
        let _ = self.orders.send(Order::Complete(completed));
    }

    /// Gives back what is left and ends the node's part. `of_tests`: the exit code that its tests mean.
    /// The one answer says what went wrong, if anything did; there is none of a node that had given up.
    pub fn leave(&self, exit_code: u8, of_tests: u8) -> Receiver<Option<String>> {
        let (told, hear) = unbounded();
        let _ = self.orders.send(Order::Leave { exit_code, of_tests, told });
        hear
    }
}

/// A unit of this node.
#[derive(Clone, Copy)]
struct Held {
    token: i32,
    /// Nodes went down with it.
    is_suspect: bool,
}

struct Node {
    url: ServerUrl,
    place: Place,
    /// The connection, while there is one.
    desk: Option<Desk>,
    say: Box<dyn FnMut(Said) -> bool + Send>,
    patience: Duration,
    orders: Receiver<Order>,
    /// What was asked for and is not there yet.
    wanted: Option<Wanted>,
    /// Units that the dispatcher has: it may be this node that leases again what it had lost.
    held: HashMap<i64, Held>,
    /// Units that are to be handed in.
    completed: Vec<Completed>,
    /// How long it had no unit.
    idle: Duration,
    idle_since: Option<Instant>,
    beat_at: Instant,
    ask_at: Instant,
    pause: Duration,
    others: Option<u64>,
    /// When the server last answered.
    heard_at: Instant,
    /// Since when it was never silent for as long as a lease.
    in_touch_since: Instant,
}

impl Node {
    fn run(mut self) {
        loop {
            let mut next = self.beat_at;
            if self.wanted.is_some() {
                next = next.min(self.ask_at);
            }
            match self.orders.recv_deadline(next) {
                Ok(Order::Leave { exit_code, of_tests, told }) => {
                    let left = self.act(|node| {
                        node.hand_in()?;
                        let idle = node.idle();
                        node.desk()?.leave(idle, exit_code, of_tests)
                    });
                    // Whoever asked may be gone.
                    let _ = told.send(left.err());
                    return;
                }
                Ok(Order::Want(wanted)) => {
                    self.wanted = Some(wanted);
                    (self.pause, self.ask_at) = (ASK_AGAIN.0, Instant::now());
                }
                Ok(Order::Complete(completed)) => self.completed.push(completed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody waits for it: where it does not get through the lease ends by itself.
                    let (idle, code) = (self.idle(), Exit::Interrupted.code());
                    let _ = self.desk().and_then(|desk| desk.leave(idle, code, code));
                    return;
                }
            }
            if let Err(reason) = self.act(Node::step) {
                (self.say)(Said::GivenUp(reason));
                return;
            }
        }
    }

    /// Does something that needs the server, again and again while that is away.
    fn act<T>(&mut self, mut step: impl FnMut(&mut Node) -> Result<T, QueueError>) -> Result<T, String> {
        let began = Instant::now();
        let mut pause = RECONNECT.0;
        let mut told = false;
        loop {
            match step(self) {
                Ok(value) => {
                    if told {
                        (self.say)(Said::Back);
                    }
                    return Ok(value);
                }
                // Somebody holds the tables: the connection is as good as before.
                Err(error) if error.is_locked() && began.elapsed() < self.patience => {
                    std::thread::sleep(RECONNECT.0);
                }
                Err(error) if error.is_away() && began.elapsed() < self.patience => {
                    self.desk = None;
                    if !std::mem::replace(&mut told, true) {
                        (self.say)(Said::Away(error.to_string()));
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RECONNECT.1);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The connection; a new one where the last broke. What was leased meanwhile is said.
    fn desk(&mut self) -> Result<&Desk, QueueError> {
        let desk = match self.desk.take() {
            Some(desk) => desk,
            None => {
                let desk = Desk::reopen(&self.url, self.place.clone())?;
                self.take_up(desk.held()?);
                desk
            }
        };
        Ok(self.desk.insert(desk))
    }

    /// An answer may not have come, or what was asked on a connection that broke was done later: whatever
    /// is this node's by now, it runs.
    fn take_up(&mut self, own: Vec<Leased>) {
        own.into_iter().for_each(|leased| self.begin_unit(leased));
    }

    /// What the dispatcher still has of it goes on, under the new lease.
    fn begin_unit(&mut self, leased: Leased) {
        let held = Held { token: leased.token, is_suspect: leased.takedowns > 0 };
        if self.held.insert(leased.unit, held).is_some() {
            return;
        }
        self.wanted = None;
        if let Some(since) = self.idle_since.take() {
            self.idle += since.elapsed();
        }
        (self.say)(Said::Leased(leased));
    }

    fn idle(&self) -> Duration {
        self.idle + self.idle_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn hand_in(&mut self) -> Result<(), QueueError> {
        while let Some(mut completed) = self.completed.first().cloned() {
            completed.token = self.held.get(&completed.unit).map_or(completed.token, |held| held.token);
            let counts = self.desk()?.complete(&completed)?;
            self.completed.remove(0);
            self.held.remove(&completed.unit);
            if self.held.is_empty() {
                self.idle_since.get_or_insert_with(Instant::now);
            }
            (self.say)(Said::Settled { unit: completed.unit, counts });
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), QueueError> {
        self.hand_in()?;
        // A node that slept for long says first that it is there: nobody would wait for what it leases.
        if self.beat_at <= Instant::now() {
            self.beat()?;
        }
        let Some(wanted) = self.wanted.filter(|_| self.ask_at <= Instant::now()) else {
            return Ok(());
        };
        // One at a time, also where the wish is older than what came meanwhile.
        let suspects = wanted.suspects && !self.held.values().any(|held| held.is_suspect);
        if let Some(leased) = self.desk()?.claim(Wanted { suspects, ..wanted })? {
            // Where it is not new, the dispatcher's wish stands, and is asked again at once.
            self.begin_unit(leased);
            return Ok(());
        }
        // A lease that came to light with a new connection.
        if self.wanted.is_none() {
            return Ok(());
        }
        let Standing { waiting, leased, expired, .. } = self.beat()?;
        if self.wanted.is_none() {
            return Ok(());
        }
        if waiting + leased == 0 {
            self.wanted = None;
            (self.say)(Said::Over);
        } else {
            self.pause = if expired > 0 && self.may_reap() { ASK_AGAIN.0 } else { (self.pause * 2).min(ASK_AGAIN.1) };
            self.ask_at = Instant::now() + self.pause;
        }
        Ok(())
    }

    /// A server that was away heard of nobody: whoever comes back first gives the others as long as a
    /// lease to be heard of.
    fn may_reap(&self) -> bool {
        self.in_touch_since.elapsed() >= self.place.lease
    }

    fn beat(&mut self) -> Result<Standing, QueueError> {
        let idle = self.idle();
        let standing = self.desk()?.beat(idle)?;
        let now = Instant::now();
        if now.duration_since(std::mem::replace(&mut self.heard_at, now)) >= self.place.lease {
            self.in_touch_since = now;
        }
        self.beat_at = now + self.place.lease / BEATS;
        if standing.own.iter().any(|(unit, token)| self.held.get(unit).is_none_or(|held| held.token != *token)) {
            let own = self.desk()?.held()?;
            self.take_up(own);
        }
        if standing.expired > 0 && self.may_reap() {
            let mut buried = Vec::new();
            let reaped = self.desk()?.reap(&mut |number, result| buried.push((number, result)));
            // Also where the server went away in the middle: they have their verdict.
            if !buried.is_empty() {
                (self.say)(Said::Buried(buried));
            }
            reaped?;
        }
        let others = standing.others.max(0) as u64;
        if self.others.replace(others) != Some(others) {
            (self.say)(Said::Others(others));
        }
        Ok(standing)
    }
}
