//! Owns the signals that ask a process to stop, and who sent them. Knows nothing
//! of what is stopped.

use std::time::Duration;

use crossbeam_channel::Receiver;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::emulate_default_handler;
use thiserror::Error;

/// How long what was interrupted may take to tear itself down before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// Ctrl-C, a closed terminal or a polite kill came before there was anything to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("interrupted by {}", .signal.as_str())]
pub struct Interrupted {
    /// Which signal.
    pub signal: Signal,
    /// Nobody sent it: it was typed at the terminal, so that every process in the
    /// terminal's foreground has it already.
    pub typed: bool,
}

/// From here on SIGINT, SIGTERM and SIGHUP do not end this process but arrive here;
/// once the receiver is dropped they end it again.
pub fn watch() -> std::io::Result<Receiver<Interrupted>> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        for origin in signals.forever() {
            let typed = origin.process.is_none_or(|process| process.pid == 0);
            let signal = Signal::try_from(origin.signal).unwrap_or(Signal::SIGINT);
            if sender.send(Interrupted { signal, typed }).is_err() {
                // It ends here; a signal that cannot be emulated has no such effect.
                let _ = emulate_default_handler(origin.signal);
            }
        }
    });
    Ok(receiver)
}
