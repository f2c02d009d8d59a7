//! Owns a real PostgreSQL server for tests: one for all of them, started when the first needs it, in
//! a temporary folder, reached by a socket of its own. It ends with the test process, however that
//! ends: a shell waits for it at a pipe.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::{Client, NoTls};

use crate::process::{children, poll};

/// PostgreSQL does not run as root: there it is somebody else's process, in a folder of theirs.
const NOBODY: u32 = 65534;

/// A running server.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    guardian: Child,
    /// The shell's words that start it.
    start: String,
}

static SHARED: LazyLock<Server> = LazyLock::new(Server::new);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A new, empty database on the server of all tests.
pub(crate) fn database() -> String {
    SHARED.database()
}

/// The server of all tests.
pub(crate) fn shared() -> &'static Server {
    &SHARED
}

/// Where the programs of PostgreSQL are: a test without them fails, and says what to do.
pub(crate) fn tools() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
    let output = Command::new(script).arg("--find").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

/// Words before a command that make it nobody's where it would be root's.
fn as_nobody() -> &'static str {
    if nix::unistd::geteuid().is_root() { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" }
}

impl Server {
    /// Starts one.
    pub(crate) fn new() -> Server {
        Server::start(5432, |_| String::new())
    }

    /// Starts one whose socket has that number. `prepare` sees the folder before and names options of
    /// `postgres`.
    pub(crate) fn start(port: u16, prepare: impl FnOnce(&Path) -> String) -> Server {
        let folder = tempfile::Builder::new().prefix("rpt-pg-").tempdir_in("/tmp").unwrap().keep();
        let options = prepare(&folder);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
            for entry in std::fs::read_dir(&folder).unwrap() {
                chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let place = folder.display();
        let tools = tools();
        let tools = tools.display();
        let own = as_nobody();
        // The folder goes with the server, also where the test process was killed.
        let guardian = Command::new("sh")
            .args(["-c", &format!("cat; {own} {tools}/pg_ctl -D {place}/data -m immediate stop; rm -rf {place}")])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = format!(
            "{own} {tools}/pg_ctl -D {place}/data -l {place}/log -w start \
             -o '-k {place} -p {port} -c listen_addresses= -F -c max_connections=200 {options}'"
        );
        let server = Server { folder: folder.clone(), port, guardian, start };
        server.shell(&format!(
            "{own} {tools}/initdb -D {place}/data -U rpt -A trust -E UTF8 --locale=C --no-sync && {}",
            server.start
        ));
        server
    }

    /// kill -9 of the server and of all that it had begun.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let postmaster: i32 = pid.lines().next().unwrap().parse().unwrap();
        let backends = children(postmaster);
        for pid in [vec![postmaster], backends].concat() {
            // A backend may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        assert!(poll(|| kill(Pid::from_raw(postmaster), None).is_err()));
    }

    /// Starts it again.
    pub(crate) fn restart(&self) {
        self.shell(&self.start);
    }

    fn shell(&self, script: &str) {
        // Into a file: the server keeps what it inherits.
        let said = std::fs::File::create(self.folder.join("said")).unwrap();
        let status = Command::new("sh")
            .args(["-c", script])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.folder.join("said")).unwrap();
        assert!(status.success(), "{said}");
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("db{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.url(&name, &self.folder)
    }

    /// The URL of a database by the socket in a folder.
    pub(crate) fn url(&self, database: &str, folder: &Path) -> String {
        format!("postgres://rpt@/{database}?host={}", folder.display())
    }

    /// A client that knows nothing of rpt.
    pub(crate) fn client(&self, database: &str) -> Client {
        self.client_as("rpt", database)
    }

    /// The same for another user.
    pub(crate) fn client_as(&self, user: &str, database: &str) -> Client {
        let (folder, port) = (self.folder.display(), self.port);
        Client::connect(&format!("host={folder} port={port} user={user} dbname={database}"), NoTls).unwrap()
    }

    /// Writes who may connect how, and has the server read it.
    pub(crate) fn admit(&self, rules: &str) {
        std::fs::write(self.folder.join("data/pg_hba.conf"), rules).unwrap();
        let mut client = self.client("postgres");
        // A session reads it after the server has.
        let mut loaded = || client.query_one("SELECT pg_conf_load_time()::text", &[]).unwrap().get::<_, String>(0);
        let before = loaded();
        self.client("postgres").execute("SELECT pg_reload_conf()", &[]).unwrap();
        assert!(poll(|| loaded() != before));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        self.guardian.wait().unwrap();
    }
}

/// The database's name in a URL.
pub(crate) fn name_of(url: &str) -> &str {
    url.split(['/', '?']).nth(3).unwrap()
}

/// A socket that passes everything on to a server, until it is cut.
pub(crate) struct Wire {
    folder: tempfile::TempDir,
    streams: Arc<Mutex<Option<Vec<UnixStream>>>>,
}

impl Wire {
    pub(crate) fn to(server: &Server) -> Wire {
        Wire::slow(server, Duration::ZERO)
    }

    /// Each piece takes so long, either way.
    pub(crate) fn slow(server: &Server, delay: Duration) -> Wire {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let target = server.folder().join(".s.PGSQL.5432");
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let ours = Arc::clone(&streams);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = UnixStream::connect(&target) else { return };
                let mut streams = ours.lock().unwrap();
                // After the cut whoever comes is sent away.
                let Some(open) = streams.as_mut() else { continue };
                open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap(), delay);
                pass(far, near, delay);
            }
        });
        Wire { folder, streams }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends what goes on and lets nothing through any more.
    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().take().unwrap_or_default() {
            // The other side may have gone first.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Lets whoever comes through again.
    pub(crate) fn mend(&self) {
        self.streams.lock().unwrap().get_or_insert_default();
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            std::thread::sleep(delay);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
