//! Owns what a wait status says of a worker's end. Pure.

use nix::sys::signal::Signal;

/// What a wait status says: `crash: signal 11`, `exit 3`.
pub(super) fn cause_of(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit {}", (status >> 8) & 0xff),
        signal => format!("crash: signal {signal}"),
    }
}

/// The same for people, with the signal's name: `crash: signal 11 (SIGSEGV)`.
pub(super) fn told(status: i32) -> String {
    let cause = cause_of(status);
    match Signal::try_from(status & 0x7f) {
        Ok(signal) => format!("{cause} ({})", signal.as_str()),
        Err(_) => cause,
    }
}

/// Whether it was SIGKILL, which the kernel sends when memory is out.
pub(super) fn is_killed(status: i32) -> bool {
    status & 0x7f == Signal::SIGKILL as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (status, cause, people) in [
            (0, "exit 0", "exit 0"),
            (3 << 8, "exit 3", "exit 3"),
            (11, "crash: signal 11", "crash: signal 11 (SIGSEGV)"),
            (11 | 0x80, "crash: signal 11", "crash: signal 11 (SIGSEGV)"),
            (40, "crash: signal 40", "crash: signal 40"),
        ] {
            assert_eq!((cause_of(status).as_str(), told(status).as_str()), (cause, people));
        }
        assert!(is_killed(9) && !is_killed(9 << 8) && !is_killed(15));
    }
}
