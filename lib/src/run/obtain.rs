//! Where a run's server comes from: leased by a daemon, kept by this pipeline, or new.
//! Knows nothing of how tests are run with it.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::interrupt::Interrupted;
use crate::inventory::snapshot::Deal;
use crate::project::rootdir_option;
use crate::python::Context;
use crate::server::{self, BriefItem, Launch, Server, Watch};

use super::options::{RunOptions, Workers};
use super::request::{Request, Selection};
use super::{kept, warm};

/// A server that holds the requested tests, and its items where they were asked for already.
pub(super) struct Obtained {
    pub(super) server: Server,
    /// `None`: not asked for yet.
    pub(super) items: Option<Vec<BriefItem>>,
    /// Where workers collect their own files: what they need.
    pub(super) deal: Option<Deal>,
    /// Where a daemon leased it: the connection, which ends with the daemon.
    pub(super) daemon: Option<UnixStream>,
}

/// A server that somebody keeps, where it is still there. Errors of its collection do not concern
/// the tests that it was leased for.
pub(super) fn attach_to(socket: &Path, located: bool) -> Option<Obtained> {
    let mut server = server::attach_at(socket).ok().flatten()?;
    server.collected.errors.clear();
    let items = server.brief_items(located).ok()?;
    Some(Obtained { server, items: Some(items), deal: None, daemon: None })
}

/// The server that collected for this pipeline and waits, where there is one that
/// holds every test asked for; else a new one.
pub(super) fn server(
    options: &RunOptions,
    request: &mut Request,
    python: &Path,
    cwd: &Path,
    (interrupts, began): (&Receiver<Interrupted>, Instant),
) -> anyhow::Result<Obtained> {
    let until = options.care.timeout_total.and_then(|span| began.checked_add(span));
    let unfiltered = options.pytest.keyword.is_none() && options.pytest.marker.is_none();
    let joins = request.piped && request.environment.is_empty() && unfiltered && options.workers != Workers::Exactly(0);
    if joins {
        let context = Context::new(cwd, python, &options.pytest.context_args(), std::env::vars_os());
        if let Some(mut server) = server::attach(&context, request.server.as_deref()) {
            let items = server.brief_items(options.files.tell_places())?;
            let selection = Selection::of(request, &items, Path::new(&server.collected.rootdir), cwd);
            if selection.not_found.is_empty() {
                return Ok(Obtained { server, items: Some(items), deal: None, daemon: None });
            }
            server.end();
        }
    }
    let located = options.files.tell_places();
    if let Some(obtained) = warm::attach(options, request, (python, cwd), located) {
        return Ok(obtained);
    }
    if joins {
        let context = Context::new(cwd, python, &options.pytest.context_args(), std::env::vars_os());
        if let Some(obtained) = kept::start(&context, options, request, (python, cwd), (interrupts, until))? {
            return Ok(obtained);
        }
    }
    let mut shape = options.pytest.context_args();
    if let (Some(rootdir), None) = (&request.rootdir, &options.pytest.rootdir) {
        shape.insert(0, rootdir_option(rootdir, cwd));
    }
    let mut args = shape.clone();
    args.extend(options.pytest.filter_args());
    args.extend(request.paths.iter().cloned());
    let terminal = options.workers == Workers::Exactly(0);
    let launch = Launch {
        python,
        args: &args,
        options: &shape,
        identity: None,
        terminal,
        watch: Watch::Nothing,
        environment: &request.environment,
        place: None,
        deals: false,
    };
    let server = server::start(&launch)?.ready_until(interrupts, until)?;
    Ok(Obtained { server, items: None, deal: None, daemon: None })
}
