//! Owns listening to the process that collected while others run its tests: it tells of
//! workers it forked, and at the end what its plugins say of the run.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, select};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::event::Event;
use super::queued::say_of_the_way;
use crate::server::{ControlReader, FromServer};

/// What the process said last: pytest's exit code, over which plugins have a say, and
/// what they wrote for people.
pub(super) type Finished = (u8, String);

/// A process that is listened to.
pub(super) struct Attending {
    thread: JoinHandle<()>,
    done: Receiver<Option<Finished>>,
}

impl Attending {
    /// Listens until the process ends. `events`: where what it says of workers goes.
    pub(super) fn start(mut reader: ControlReader, events: Option<Sender<Event>>) -> Attending {
        let (say, done) = crossbeam_channel::bounded(1);
        let thread = std::thread::spawn(move || {
            let mut finished = None;
            while let Ok(Some(message)) = reader.next() {
                if let FromServer::Finished { exit_code, text } = message {
                    finished = Some((exit_code, text));
                } else if let Some(events) = &events
                    && events.send(Event::Server(Some(message))).is_err()
                {
                    // The dispatcher is gone already.
                    break;
                }
            }
            if let Some(events) = &events {
                let _ = events.send(Event::Server(None));
            }
            // Nobody waits where no plugin listens.
            let _ = say.send(finished);
        });
        Attending { thread, done }
    }

    /// Waits for what the process says last; `None`: it said nothing. It is killed, if it
    /// is ours and so has a `pid`, where somebody does not want to wait.
    pub(super) fn finished(&self, events: &Receiver<Event>, pid: Option<i32>) -> Option<Finished> {
        loop {
            select! {
                recv(self.done) -> finished => return finished.ok().flatten(),
                recv(events) -> event => match event {
                    Ok(Event::Interrupted(_)) => {
                        // It may be gone already.
                        let _ = kill(Pid::from_raw(pid?), Signal::SIGKILL);
                    }
                    Ok(event) => say_of_the_way(&event),
                    Err(_) => return self.done.recv().ok().flatten(),
                },
            }
        }
    }

    /// Waits for the end of the process.
    pub(super) fn join(self) {
        // It has nothing to say.
        let _ = self.thread.join();
    }
}
