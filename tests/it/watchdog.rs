//! No way of being ended hangs, loses what was reported, or leaves something running. The
//! harness itself is the watchdog: a command that does not end fails its test.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::output::assert_totals_add_up;
use crate::project::Project;

/// A quick test, a child that would outlive everything, and tests that last longer than anybody waits.
fn project() -> Project {
    Project::with_test(
        "import os, pytest, subprocess, sys, time\n\
         def test_quick(): pass\n\
         def test_starts():\n\
         \x20   command = [sys.executable, '-S', '-c', 'import time; time.sleep(600)']\n\
         \x20   subprocess.Popen(command, start_new_session=True)\n\
         @pytest.mark.parametrize('n', range(4))\n\
         def test_slow(n): time.sleep(600)\n",
    )
}

fn assert_recorded(project: &Project) {
    let history = project.command("rpt-history").args(["show", "test_it.py::test_quick"]).run();
    history.assert_code(0);
    assert!(history.text().contains("\"passed\""), "{}", history.text());
    project.command("rpt-history").arg("check").run().assert_code(0);
}

/// Ctrl-C, a polite kill and a closed terminal, with every kind of worker.
#[test]
fn every_signal_ends_a_run_that_is_recorded() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for way in [&["-n", "2"] as &[&str], &["-n", "1", "--exec", "spawn"], &["-n", "0"]] {
            let project = project();
            let mut run = project.command("rpt-run").args(way).args(["--events", "."]).start();
            run.wait_for_line("\"started\",\"node_id\":\"test_it.py::test_slow[0]\"");
            run.signal(signal);
            let output = run.finish();
            output.assert_code(2);
            assert_totals_add_up(&output);
            assert_eq!(output.result("::test_quick")["outcome"], "passed");
            assert_eq!(output.results().len(), 6);
            assert_recorded(&project);
            project.assert_nothing_left();
        }
    }
}

/// A terminal that went away: reading and writing it fails, and the signal says so.
#[test]
fn a_closed_terminal_ends_the_run() {
    let project = project();
    let script = "import os, pty, sys, time\n\
                  pid, terminal = pty.fork()\n\
                  if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])\n\
                  said = b''\n\
                  while b'test_slow' not in said: said += os.read(terminal, 65536)\n\
                  os.close(terminal)\n\
                  _, status = os.waitpid(pid, 0)\n\
                  print(os.waitstatus_to_exitcode(status))\n";
    let binary = crate::project::binary("rpt-run");
    let run = project.python().args(["-c", script]).arg(binary).args(["-n", "1", "."]).env("TERM", "xterm");
    let output = run.run();
    output.assert_code(0);
    assert!(["2", "-1"].contains(&output.text().trim()), "{}", output.text());
    assert_recorded(&project);
    project.assert_nothing_left();
}

/// Results that cannot be written: the run stops, says so and is no success.
#[test]
fn a_full_disk_behind_stdout_ends_the_run() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    drop(full);
    let project = project();
    let output = project.shell("exec rpt-run -n 1 . >/dev/full").run();
    assert_ne!(output.code(), 0);
    assert!(output.stderr().contains("No space left"), "{}", output.stderr());
    project.assert_nothing_left();
}

/// History that cannot be written costs history, not the run.
#[test]
fn a_history_that_cannot_be_written_costs_only_history() {
    let project = Project::with_test("def test_it(): pass\n");
    let output = project.command("rpt-run").args(["--history", "/proc/none/history.db", "."]).run();
    output.assert_code(0);
    assert_eq!(output.result("::test_it")["outcome"], "passed");
    assert!(output.said().iter().any(|line| line.contains("not remembered")), "{}", output.stderr());
}

/// Whichever process is killed, the run ends, nobody stays (not even what left the process's session),
/// and history is sound: with forks, in a pipeline whose server has another parent, with interpreters
/// of their own.
#[test]
fn whoever_is_killed_nobody_stays() {
    for (way, victims) in [
        ("rpt-run -n 2 .", &["rpt-run", "server", "worker", "keeper"] as &[&str]),
        ("rpt-collect . | rpt-run -n 2", &["rpt-run", "server", "worker", "keeper"]),
        // What keeps a worker is its parent.
        ("rpt-run -n 2 --exec spawn .", &["rpt-run", "server", "worker"]),
    ] {
        for victim in victims {
            let project = Project::with_test(
                "import os, pytest, subprocess, sys, time\n\
                 def parent(pid): return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1]\n\
                 @pytest.fixture(scope='module')\n\
                 def daemon():\n\
                 \x20   command = [sys.executable, '-S', '-c', 'import time; time.sleep(600)']\n\
                 \x20   yield subprocess.Popen(command, start_new_session=True)\n\
                 @pytest.mark.parametrize('n', range(40))\n\
                 def test_it(n, daemon):\n\
                 \x20   open('worker', 'w').write(str(os.getpid()))\n\
                 \x20   open('server', 'w').write(str(os.getppid()))\n\
                 \x20   if os.path.exists('/proc'): open('keeper', 'w').write(parent(os.getppid()))\n\
                 \x20   time.sleep(0.02)\n",
            );
            let mut run = project.shell(&format!("exec {way}")).start();
            run.wait_for_line("\"result\"");
            let pids = match *victim {
                "rpt-run" => crate::process::living_pids(&project.mark(), "rpt-run"),
                "keeper" if !cfg!(target_os = "linux") => continue,
                _ => {
                    let mut pid = None;
                    assert!(crate::process::poll(|| {
                        pid = project.read(victim).parse().ok();
                        pid.is_some()
                    }));
                    pid.into_iter().collect()
                }
            };
            for pid in pids {
                // It may have ended by itself meanwhile.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
            let output = run.finish();
            if *victim != "rpt-run" {
                assert_totals_add_up(&output);
                assert_eq!(output.results().len(), 40, "{victim} of {way}");
            }
            if *victim == "keeper" {
                assert_eq!(output.complete()["passed"], 40, "{victim} of {way}");
            }
            project.assert_no_process_left();
            let check = project.command("rpt-history").arg("check").run();
            check.assert_code(0);
        }
    }
}

/// A reader that is slow to the point of standing still does not keep a signal from being heard.
#[test]
fn a_reader_that_stands_still_keeps_nobody() {
    let project = Project::with_test(
        "import pytest\n@pytest.mark.parametrize('n', range(3000))\ndef test_it(n): assert n < 0, 'x' * 2000\n",
    );
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = std::process::Command::new(crate::project::binary("rpt-run"))
        .args(["-n", "2", "."])
        .current_dir(project.path())
        .env("RPT_PYTHON", crate::project::python())
        .env("TMPDIR", project.temporary())
        .env(crate::process::MARK, project.mark())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(crate::process::poll(|| project.path().join(".rpt/history.db").exists()));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    drop(reader);
    assert!(crate::process::poll(|| child.try_wait().unwrap().is_some()));
    assert_ne!(child.wait().unwrap().code(), Some(0));
    project.assert_no_process_left();
}

/// What is for people cannot be told to a terminal that is full or gone: no reason to break.
#[test]
fn filters_bear_a_stderr_that_takes_nothing() {
    let Ok(_full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let project = Project::empty();
    let test = r#"{"type":"test","node_id":"a.py::f","file_path":"a.py","name":"f"}"#;
    for (line, code, answer) in [
        ("rpt-order --verbose 2>/dev/full", 0, "a.py::f"),
        ("rpt-order --by random 2>/dev/full", 0, "a.py::f"),
        ("rpt-shard --index 0 --total 1 --verbose 2>/dev/full", 0, "a.py::f"),
        ("rpt-collect --verify . 2>/dev/full", 5, ""),
        ("rpt-history import none.xml 2>/dev/full", 4, ""),
    ] {
        let output = project.shell(line).stdin(format!("{test}\n")).run();
        output.assert_code(code);
        assert!(output.text().contains(answer), "{line}: {}", output.text());
    }
}

/// A worker of its own interpreter that still collects is not waited for.
#[test]
fn a_stopped_run_does_not_wait_for_a_worker_that_collects() {
    let project = Project::empty().file("test_a.py", "def test_a(): assert 0\n").file(
        "test_b.py",
        "import os, time\nif 'PYTEST_XDIST_WORKER' in os.environ: time.sleep(600)\ndef test_b(): pass\n",
    );
    let output = project.command("rpt-run").args(["-n", "2", "--exec", "spawn", "-x", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!((&output.result("::test_a")["outcome"], &output.complete()["not_run"]), (&"failed".into(), &1.into()));
    project.assert_nothing_left();
}
