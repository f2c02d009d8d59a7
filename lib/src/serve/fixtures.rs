//! Owns fixtures that stay alive between the runs of a context: how that is configured, and
//! the server that keeps a worker with them, from its making to its end. Of a collection it
//! knows what that depended on: where any of it changed, nothing of the server is used again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::protocol::{FixtureConfig, SessionStatus};
use super::runs::new_id;
use super::unpoisoned;
use crate::inventory::dependencies::{Change, Dependencies};
use crate::server::{ControlReader, FromServer, Request, Server, attach_at};

/// How long tear-down is waited for where somebody asked for it: longer than a worker is
/// given for it before it is killed (`TEARDOWN` in `resident.py`).
const PATIENCE: Duration = Duration::from_secs(35);

/// How often it is looked whether a server has ended, or whoever waits for that has gone.
const LOOK: Duration = Duration::from_millis(10);

/// What a server is made from.
pub(crate) struct Ground {
    /// The warm server that it is a fork of.
    pub server: PathBuf,
    /// What was collected.
    pub inventory_hash: String,
    /// What that depended on.
    pub dependencies: Dependencies,
    pub environment: BTreeMap<String, String>,
    /// Absolute paths.
    pub test_files: BTreeSet<PathBuf>,
}

/// The fixtures of a context.
#[derive(Default)]
pub(crate) struct Fixtures {
    config: Mutex<FixtureConfig>,
    kept: Mutex<Kept>,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Kept {
    resident: Option<Resident>,
    /// Servers that are ending.
    ending: Vec<JoinHandle<()>>,
}

/// What people are told of it; nobody waits for it.
#[derive(Default)]
struct Told {
    session: Option<Session>,
    /// Why nothing is kept.
    reason: Option<String>,
    /// What went wrong in the last tear-down.
    error: Option<String>,
}

/// One life of fixtures. Times in seconds since the epoch.
#[derive(Clone)]
struct Session {
    id: String,
    created_at: f64,
    last_run_at: f64,
    total_runs: u32,
}

/// A server that keeps a worker.
struct Resident {
    /// Ends with this connection.
    server: Server,
    socket: PathBuf,
    ground: Ground,
}

/// Which file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conftest,
    TestFile,
    Other,
}

impl Fixtures {
    pub(crate) fn config(&self) -> FixtureConfig {
        unpoisoned(&self.config).clone()
    }

    /// A new configuration ends what is kept under another one; when this returns it is torn
    /// down, unless a run is on that uses it: then that is the end of it.
    pub(crate) fn configure(&self, config: FixtureConfig) {
        let before = std::mem::replace(&mut *unpoisoned(&self.config), config.clone());
        if before != config {
            self.close();
        }
        unpoisoned(&self.told).reason = None;
    }

    /// The socket of a server for one run, with the fixtures of the runs before where nothing
    /// changed since; `None`: there is none, and `Told::reason` says why. `abandoned`: nobody
    /// waits any more. `ground`: what a new one is made from, or why it cannot be.
    pub(crate) fn lease(
        &self,
        inventory_hash: &str,
        sockets: &Path,
        ground: impl FnOnce() -> Result<Ground, &'static str>,
        abandoned: &dyn Fn() -> bool,
    ) -> Option<PathBuf> {
        let max_age = self.config().max_fixture_age_seconds;
        let mut kept = unpoisoned(&self.kept);
        if let Some(mut resident) = kept.resident.take() {
            let holds = resident.ground.inventory_hash == inventory_hash && resident.ground.changes().is_empty();
            if holds && expects(&mut resident.server, &self.told) {
                self.is_used();
                let socket = resident.socket.clone();
                kept.resident = Some(resident);
                return Some(socket);
            }
            kept.ending.push(self.ends(resident));
        }
        // What one fixture holds, a port or a folder, the next one may need.
        while kept.ending.iter().any(|thread| !thread.is_finished()) {
            if abandoned() {
                return None;
            }
            std::thread::sleep(LOOK);
        }
        kept.ending.clear();
        match ground().and_then(|ground| Resident::start(ground, sockets, max_age, &self.told)) {
            Ok(resident) => {
                let now = now();
                let id = new_id(&resident.ground.inventory_hash);
                let session = Session { id, created_at: now, last_run_at: now, total_runs: 0 };
                unpoisoned(&self.told).session = Some(session);
                self.is_used();
                let socket = resident.socket.clone();
                kept.resident = Some(resident);
                Some(socket)
            }
            Err(reason) => {
                unpoisoned(&self.told).reason = Some(reason.to_string());
                None
            }
        }
    }

    fn is_used(&self) {
        let mut told = unpoisoned(&self.told);
        told.reason = None;
        if let Some(session) = &mut told.session {
            session.last_run_at = now();
            session.total_runs += 1;
        }
    }

    /// Files changed: where one of them is to end what is kept, it does at once. Whatever else
    /// changed ends it when the next run would use it.
    pub(crate) fn look_again(&self) {
        let config = self.config();
        // Whoever has it looks for changes himself.
        let Ok(mut kept) = self.kept.try_lock() else { return };
        let Some(mut resident) = kept.resident.take() else { return };
        let ends = resident.ground.changes().into_iter().any(|kind| match kind {
            Kind::Conftest => config.teardown_on_conftest_change,
            Kind::TestFile => config.teardown_on_test_file_change,
            Kind::Other => true,
        });
        if ends {
            let thread = self.ends(resident);
            kept.ending.push(thread);
        } else {
            kept.resident = Some(resident);
        }
    }

    /// Ends what is kept, and waits for its tear-down, but not for ever.
    pub(crate) fn close(&self) {
        let until = Instant::now() + PATIENCE;
        let mut kept = unpoisoned(&self.kept);
        if let Some(resident) = kept.resident.take() {
            let thread = self.ends(resident);
            kept.ending.push(thread);
        }
        while kept.ending.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        kept.ending.retain(|thread| !thread.is_finished());
    }

    /// Ends a server; the thread ends with it.
    fn ends(&self, resident: Resident) -> JoinHandle<()> {
        let told = Arc::clone(&self.told);
        unpoisoned(&told).session = None;
        std::thread::spawn(move || {
            let Server { mut writer, mut reader, .. } = resident.server;
            writer.close();
            while heard(&mut reader, &told).is_some() {}
        })
    }

    /// What the protocol says of it.
    pub(crate) fn status(&self, repo_path: String) -> SessionStatus {
        // Where it is in use, it is alive.
        if let Ok(mut kept) = self.kept.try_lock()
            && let Some(mut resident) = kept.resident.take()
        {
            match is_alive(&mut resident.server.reader, &self.told) {
                true => kept.resident = Some(resident),
                false => unpoisoned(&self.told).session = None,
            }
        }
        let enabled = self.config().enabled;
        let told = unpoisoned(&self.told);
        let session = told.session.clone();
        SessionStatus {
            session_id: session.as_ref().map(|session| session.id.clone()).unwrap_or_default(),
            repo_path,
            created_at: session.as_ref().map_or(0.0, |session| session.created_at),
            last_run_at: session.as_ref().map_or(0.0, |session| session.last_run_at),
            total_runs: session.as_ref().map_or(0, |session| session.total_runs),
            enabled,
            reason: told.reason.clone(),
            teardown_error: told.error.clone(),
        }
    }
}

impl Resident {
    fn start(ground: Ground, sockets: &Path, max_age: f64, told: &Mutex<Told>) -> Result<Resident, &'static str> {
        const LOST: &str = "the process that collected ended";
        let mut server = attach_at(&ground.server).ok().flatten().ok_or(LOST)?;
        let socket = PathBuf::from(format!("{}-kept-{}", sockets.display(), server.collected.pid));
        let mut name = socket.into_os_string();
        name.push(format!("-{}", &new_id("")[..6]));
        let socket = PathBuf::from(name);
        server.reside(&socket, max_age).map_err(|_| LOST)?;
        if !expects(&mut server, told) {
            return Err(LOST);
        }
        Ok(Resident { server, socket, ground })
    }
}

impl Ground {
    /// What is not as it was.
    fn changes(&mut self) -> Vec<Kind> {
        let changes = self.dependencies.compare(&self.environment).changes;
        changes.iter().map(|change| kind_of(change, &self.test_files)).collect()
    }
}

fn kind_of(change: &Change, test_files: &BTreeSet<PathBuf>) -> Kind {
    let path = match change {
        Change::Content(path) | Change::Appeared(path) | Change::Gone(path) => PathBuf::from(path),
        Change::Entry { folder, entry, .. } => Path::new(folder).join(entry),
        Change::Listing(_) | Change::Variable(_) => return Kind::Other,
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_new_one = matches!(change, Change::Entry { .. })
        && name.strip_suffix(".py").is_some_and(|stem| stem.starts_with("test_") || stem.ends_with("_test"));
    match name {
        "conftest.py" => Kind::Conftest,
        _ if is_new_one || test_files.contains(&path) => Kind::TestFile,
        _ => Kind::Other,
    }
}

/// Tells a server that a client will come; false: it is ending or has ended.
fn expects(server: &mut Server, told: &Mutex<Told>) -> bool {
    if server.writer.send(&Request::Expect, &[]).is_err() {
        return false;
    }
    loop {
        match heard(&mut server.reader, told) {
            Some(FromServer::Lingering) => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// Whether a server has not ended, as far as it is known without waiting.
fn is_alive(reader: &mut ControlReader, told: &Mutex<Told>) -> bool {
    while reader.is_readable() {
        if heard(reader, told).is_none() {
            return false;
        }
    }
    true
}

/// The next message of a server; `None`: it has ended.
fn heard(reader: &mut ControlReader, told: &Mutex<Told>) -> Option<FromServer> {
    let message = reader.next().ok().flatten()?;
    match &message {
        FromServer::NotKept { reason } => unpoisoned(told).reason = Some(reason.clone()),
        FromServer::TornDown { error } => unpoisoned(told).error = Some(error.clone()),
        _ => {}
    }
    Some(message)
}

/// Seconds since the epoch.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart() {
        let files = BTreeSet::from([PathBuf::from("/a/check.py"), PathBuf::from("/a/test_it.py")]);
        let entry = |entry: &str| Change::Entry { folder: "/a".into(), entry: entry.into(), new: true };
        for (change, kind) in [
            (Change::Content("/a/conftest.py".into()), Kind::Conftest),
            (Change::Appeared("/a/inner/conftest.py".into()), Kind::Conftest),
            (entry("conftest.py"), Kind::Conftest),
            (Change::Content("/a/check.py".into()), Kind::TestFile),
            (Change::Gone("/a/test_it.py".into()), Kind::TestFile),
            (entry("test_new.py"), Kind::TestFile),
            (Change::Content("/a/test_data.py".into()), Kind::Other),
            (Change::Content("/a/product.py".into()), Kind::Other),
            (entry("inner/"), Kind::Other),
            (Change::Listing("/a".into()), Kind::Other),
            (Change::Variable("HOME".into()), Kind::Other),
        ] {
            assert_eq!(kind_of(&change, &files), kind, "{change}");
        }
    }
}
