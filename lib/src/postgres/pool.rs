//! Owns the connections of this process: two for each server, made when they are needed and kept for
//! whoever comes next. Knows neither tables nor statements.

use std::collections::HashMap;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::ServerFault;
use super::link::Link;
use crate::location::ServerUrl;

/// How many connections there are at the most: one that records, one for whoever asks meanwhile.
const MOST: usize = 2;

/// How long to wait for one of them.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server that did not answer is not asked again: whoever asks for each test must not wait
/// for each test.
const AWAY: Duration = Duration::from_secs(30);

static SERVERS: LazyLock<Mutex<HashMap<ServerUrl, Server>>> = LazyLock::new(Mutex::default);
static RETURNED: Condvar = Condvar::new();

#[derive(Default)]
struct Server {
    idle: Vec<Link>,
    lent: usize,
    /// When it could not be reached, and why.
    away: Option<(Instant, String)>,
}

/// A connection that goes back where it came from.
pub(crate) struct Lent {
    url: ServerUrl,
    /// There until it goes back.
    link: Option<Link>,
    /// Whether something may be under way on it, so that nobody else can use it.
    pub(crate) is_broken: std::cell::Cell<bool>,
}

/// A connection to this server. Waits while all are lent.
pub(crate) fn lend(url: &ServerUrl) -> Result<Lent, ServerFault> {
    let until = Instant::now() + PATIENCE;
    let mut servers = locked();
    let idle = loop {
        let server = servers.entry(url.clone()).or_default();
        if let Some((_, reason)) = server.away.as_ref().filter(|(since, _)| since.elapsed() < AWAY) {
            return Err(ServerFault::Away(reason.clone()));
        }
        if server.lent < MOST {
            server.lent += 1;
            break server.idle.pop();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ServerFault::Away(format!("all {MOST} connections of this process are in use")));
        }
        servers = RETURNED.wait_timeout(servers, left).unwrap_or_else(PoisonError::into_inner).0;
    };
    drop(servers);
    // From here on its place is given back whatever happens.
    let mut lent = Lent { url: url.clone(), link: None, is_broken: false.into() };
    lent.link = match idle.filter(Link::is_alive) {
        Some(link) => Some(link),
        None => Some(Link::open(url).inspect_err(|fault| {
            if let ServerFault::Away(reason) = fault {
                note_away(url, reason.clone());
            }
        })?),
    };
    Ok(lent)
}

/// Notes that a server does not answer.
pub(crate) fn note_away(url: &ServerUrl, reason: String) {
    locked().entry(url.clone()).or_default().away = Some((Instant::now(), reason));
}

fn locked() -> MutexGuard<'static, HashMap<ServerUrl, Server>> {
    // Nothing in there panics half-way.
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut servers = locked();
        let server = servers.entry(self.url.clone()).or_default();
        server.lent = server.lent.saturating_sub(1);
        server.idle.extend(self.link.take().filter(|_| !self.is_broken.get()));
        RETURNED.notify_all();
    }
}

impl Lent {
    /// The connection; an error if there is none, which cannot be.
    pub(crate) fn link(&self) -> Result<&Link, ServerFault> {
        self.link.as_ref().ok_or_else(|| ServerFault::Away("the connection went back".to_string()))
    }
}
