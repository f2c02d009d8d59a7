//! Owns processes that tests leave behind and whose server cannot end them: those of
//! interpreters of their own, and of a server that was killed. Linux only; elsewhere
//! process groups are all there is. The server's side is `shim/rpt_shim/orphans.py`.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// How long killed processes are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// From now on processes below this one whose parent ends become its children. Gives
/// back those that it has already, but for its own server: whoever started rpt-run by
/// replacing itself may have some.
pub(super) fn adopt(server: Option<u32>) -> Vec<Pid> {
    #[cfg(target_os = "linux")]
    {
        // A kernel that refuses leaves what process groups can do.
        let _ = nix::sys::prctl::set_child_subreaper(true);
    }
    let server = server.map(|pid| Pid::from_raw(pid as i32));
    children().into_iter().filter(|pid| Some(*pid) != server).collect()
}

/// Kills all children but the `spared` and waits for them; theirs, which then are ours,
/// too. To be called when every process that is to be waited for has ended.
pub(super) fn end(spared: &[Pid]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut left = children();
        left.retain(|pid| !spared.contains(pid));
        if left.is_empty() || Instant::now() >= until {
            return;
        }
        for pid in left {
            // It may have ended meanwhile, and waiting for what still ends is for the next round.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn children() -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>());
    pids.map(Pid::from_raw).collect()
}
