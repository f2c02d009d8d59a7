//! A real server that a session fixture starts: PostgreSQL, alive for three runs.

use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::json;

use super::client::Daemon;
use crate::postgres::tools;
use crate::process;
use crate::project::Project;

/// A fixture that starts PostgreSQL, and a query in the words of its protocol. PostgreSQL does
/// not run as root: there it is somebody else's process, in a folder of theirs.
const CONFTEST: &str = r#"
import os, pathlib, shutil, socket, struct, subprocess, tempfile
import pytest

AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

class Postgres:
    def __init__(self, folder):
        self.folder = folder

    def tool(self, *command):
        own = AS_NOBODY if os.getuid() == 0 else []
        done = subprocess.run([*own, *command], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def query(self, text):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self.folder}/.s.PGSQL.5432")
            stream = connection.makefile("rb")
            start = struct.pack("!i", 196608) + b"user\0rpt\0database\0postgres\0\0"
            connection.sendall(struct.pack("!i", len(start) + 4) + start)
            self.answers(stream)
            body = text.encode() + b"\0"
            connection.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
            return self.answers(stream)

    def answers(self, stream):
        rows = []
        while True:
            kind, length = struct.unpack("!ci", stream.read(5))
            body = stream.read(length - 4)
            assert kind != b"E", body
            if kind == b"D":
                size = struct.unpack("!i", body[2:6])[0]
                rows.append(body[6:6 + size].decode())
            if kind == b"Z":
                return rows

@pytest.fixture(scope="session")
def postgres():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rpt-pg-", dir="/tmp"))
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    server = Postgres(folder)
    data = f"{folder}/data"
    server.tool("initdb", "-D", data, "-U", "rpt", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -F"
    server.tool("pg_ctl", "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
    with open("up", "a") as up: print(folder, file=up)
    server.query("create table runs (number int)")
    yield server
    server.tool("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    shutil.rmtree(folder)
"#;

#[test]
fn a_postgresql_server_survives_three_runs() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let project = Project::with_test(
        "def test_insert(postgres):\n\
         \x20   postgres.query('insert into runs select count(*) + 1 from runs')\n\
         def test_count(postgres):\n\
         \x20   rows = postgres.query('select number from runs order by number')\n\
         \x20   with open('seen', 'a') as seen: print(*rows, file=seen)\n\
         \x20   assert rows == [str(number + 1) for number in range(len(rows))]\n",
    )
    .file("conftest.py", CONFTEST)
    .env("PATH", path);
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let configure = json!({"type": "configure_fixture_reuse", "context_id": context, "enabled": true,
        "max_age_seconds": 600.0, "teardown_on_conftest_change": true});
    client.want(configure, "config_ack");
    for _ in 0..3 {
        let started = client.want(json!({"type": "run_stream", "context_id": context}), "run_started");
        let results = super::follow(&mut client, &context, started["run_id"].as_str().unwrap());
        assert!(results.len() == 2 && results.iter().all(|result| result["outcome"] == "passed"), "{results:#?}");
    }
    assert_eq!(project.read("seen"), "1\n1 2\n1 2 3\n", "each run sees what the ones before it wrote");
    let up = project.read("up");
    assert_eq!(up.lines().count(), 1, "{up}");
    let folder = Path::new(up.trim());
    let pid: i32 =
        std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap();
    let alive = || kill(Pid::from_raw(pid), None).is_ok();
    assert!(alive());
    daemon.stop();
    assert!(!folder.exists(), "its finalizer has run when the daemon has ended");
    assert!(process::poll(|| !alive()));
    drop(client);
    project.assert_nothing_left();
}
