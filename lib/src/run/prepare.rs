//! Owns the set-up commands of a project: each runs once, before the first test, in the
//! project's folder, and passes variables on to the tests by writing lines `NAME=value`
//! to the file that RPT_ENV names.

use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::interrupt::{GRACE, Interrupted};

/// The variable that names the file.
const ENV_FILE: &str = "RPT_ENV";

/// How often a command that runs is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How much of the end of what a command printed is shown when it failed.
const TAIL: usize = 4096;

/// Variables for the tests.
pub(super) type Environment = Vec<(String, String)>;

/// Why no test can begin.
#[derive(Debug)]
pub(super) struct Unprepared {
    /// What happened, in one line.
    pub reason: String,
    /// What the command printed.
    pub printed: Vec<u8>,
}

/// Runs `commands` one after another in `folder`, each with the variables of those before.
/// They end at an interrupt, and at `until`.
pub(super) fn prepare(
    commands: &[String],
    folder: &Path,
    interrupts: &Receiver<Interrupted>,
    until: Option<(Instant, String)>,
) -> Result<Environment, Unprepared> {
    let mut environment = Environment::new();
    for command in commands {
        let failed = |reason: String| Unprepared {
            reason: format!("the set-up command `{command}` {reason}"),
            printed: Vec::new(),
        };
        let io = |error: std::io::Error| failed(format!("could not be run: {error}"));
        let passed_on = tempfile::NamedTempFile::new().map_err(io)?;
        let mut printed = tempfile::tempfile().map_err(io)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .current_dir(folder)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env(ENV_FILE, passed_on.path())
            .stdin(Stdio::null())
            .stdout(printed.try_clone().map_err(io)?)
            .stderr(printed.try_clone().map_err(io)?)
            // Ctrl-C is for rpt, which decides what it means.
            .process_group(0)
            .spawn()
            .map_err(io)?;
        let ended = wait(&mut child, interrupts, until.as_ref());
        if let Err(reason) = ended {
            return Err(Unprepared { printed: tail(&mut printed), ..failed(reason) });
        }
        let text = std::fs::read_to_string(passed_on.path()).map_err(io)?;
        let variables =
            parse(&text).map_err(|reason| failed(format!("wrote what is no variable to {ENV_FILE}: {reason}")))?;
        environment.extend(variables);
    }
    Ok(environment)
}

/// Waits for the command's end; says why it is no good one.
fn wait(
    child: &mut Child,
    interrupts: &Receiver<Interrupted>,
    until: Option<&(Instant, String)>,
) -> Result<(), String> {
    let group = Pid::from_raw(child.id() as i32);
    let mut stopped: Option<(String, Instant)> = None;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return match stopped {
                    Some((reason, _)) => Err(reason),
                    None if status.success() => Ok(()),
                    None => Err(format!("failed: {status}")),
                };
            }
            Ok(None) => {}
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
        match interrupts.recv_timeout(LOOK) {
            Ok(interrupted) => {
                let again = stopped.is_some();
                stopped.get_or_insert_with(|| (format!("was {interrupted}"), Instant::now() + GRACE));
                let signal = if again { Signal::SIGKILL } else { Signal::SIGINT };
                // It may have ended just now.
                let _ = killpg(group, signal);
            }
            Err(_) if stopped.as_ref().is_some_and(|(_, at)| Instant::now() >= *at) => {
                let _ = killpg(group, Signal::SIGKILL);
            }
            Err(_) => {}
        }
        if let (None, Some((at, reason))) = (&stopped, until)
            && Instant::now() >= *at
        {
            stopped = Some((format!("was still running: {reason}"), Instant::now() + Duration::from_secs(2)));
            let _ = killpg(group, Signal::SIGTERM);
        }
    }
}

fn tail(printed: &mut std::fs::File) -> Vec<u8> {
    let mut text = Vec::new();
    // What cannot be read is not shown.
    let _ = printed.rewind().and_then(|()| printed.read_to_end(&mut text));
    text.split_off(text.len().saturating_sub(TAIL))
}

/// Lines `NAME=value`; empty ones and those that begin with `#` say nothing.
fn parse(text: &str) -> Result<Environment, String> {
    let mut variables = Environment::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) && !value.contains('\0') => {
                variables.push((name.to_string(), value.to_string()));
            }
            _ => return Err(format!("{line:?} is not of the form NAME=value")),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{never, unbounded};

    use super::*;

    fn run(commands: &[&str]) -> Result<Environment, Unprepared> {
        let commands: Vec<String> = commands.iter().map(ToString::to_string).collect();
        prepare(&commands, Path::new("/"), &never(), None)
    }

    #[test]
    fn variables_go_from_command_to_command_and_on() {
        let environment =
            run(&["printf 'A=1\\n\\n# no\\nB=x=y z\\n' > $RPT_ENV", "echo C=$A$B >> $RPT_ENV; pwd", "true"]);
        let named = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(environment.unwrap(), [named("A", "1"), named("B", "x=y z"), named("C", "1x=y z")]);
    }

    #[test]
    fn the_first_that_fails_ends_it_and_says_what_it_printed() {
        let failed = run(&["true", "echo no database; exit 3", "touch /never"]).unwrap_err();
        assert_eq!(failed.reason, "the set-up command `echo no database; exit 3` failed: exit status: 3");
        assert_eq!(failed.printed, b"no database\n");
        let failed = run(&["echo nonsense > $RPT_ENV"]).unwrap_err();
        assert!(failed.reason.ends_with("RPT_ENV: \"nonsense\" is not of the form NAME=value"), "{}", failed.reason);
    }

    #[test]
    fn an_interrupt_and_the_end_of_time_end_it() {
        let (sender, interrupts) = unbounded();
        sender.send(Interrupted { signal: Signal::SIGINT, typed: true }).unwrap();
        let failed = prepare(&["exec sleep 600".into()], Path::new("/"), &interrupts, None).unwrap_err();
        assert!(failed.reason.ends_with("was interrupted by SIGINT"), "{}", failed.reason);
        let until = Some((Instant::now(), "time is over".to_string()));
        let failed = prepare(&["exec sleep 600".into()], Path::new("/"), &never(), until).unwrap_err();
        assert!(failed.reason.ends_with("was still running: time is over"), "{}", failed.reason);
    }
}
