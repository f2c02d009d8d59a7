//! Owns the keys of the terminal: read one by one as they are typed, and the terminal as it
//! was before at the end.

use std::io::Read;

use crossbeam_channel::Receiver;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `a`: all tests.
    All,
    /// `f`: those that failed.
    Failed,
    /// `q`, or the terminal is gone.
    Quit,
}

/// The terminal on stdin.
pub(super) struct Terminal {
    before: Termios,
    /// What was typed.
    pub keys: Receiver<Key>,
}

impl Terminal {
    /// From here on keys come one by one.
    pub(super) fn take() -> nix::Result<Terminal> {
        let before = tcgetattr(std::io::stdin())?;
        let (sender, keys) = crossbeam_channel::unbounded();
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes() {
                let key = byte.map_or(Some(Key::Quit), key_of);
                if key.is_some_and(|key| sender.send(key).is_err()) {
                    return;
                }
            }
            // The other end is gone: nobody watches any more.
            let _ = sender.send(Key::Quit);
        });
        let terminal = Terminal { before, keys };
        terminal.set()?;
        Ok(terminal)
    }

    /// Sets it again: a shell that took it meanwhile left it as the shell needs it.
    pub(super) fn set(&self) -> nix::Result<()> {
        let mut mode = self.before.clone();
        // Ctrl-C stays what it is.
        mode.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        mode.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        mode.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &mode)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

fn key_of(byte: u8) -> Option<Key> {
    match byte.to_ascii_lowercase() {
        b'a' => Some(Key::All),
        b'f' => Some(Key::Failed),
        // Ctrl-D
        b'q' | 4 => Some(Key::Quit),
        _ => None,
    }
}
