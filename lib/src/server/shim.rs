//! Owns the shim's source, carried inside the binary, and the message that boots it.

use std::path::PathBuf;

use serde::Serialize;

use super::control::Identity;
use super::{Launch, Watch};
use crate::project::user_cache_folder;

/// The program given to `python -c`.
pub(super) const BOOT: &str = include_str!("../../shim/boot.py");

/// The shim's modules in the order in which they may import each other.
const MODULES: &[(&str, &str)] = &[
    ("orphans", include_str!("../../shim/rpt_shim/orphans.py")),
    ("keeper", include_str!("../../shim/rpt_shim/keeper.py")),
    ("interpreter", include_str!("../../shim/rpt_shim/interpreter.py")),
    ("wire", include_str!("../../shim/rpt_shim/wire.py")),
    ("marks", include_str!("../../shim/rpt_shim/marks.py")),
    ("versions", include_str!("../../shim/rpt_shim/versions.py")),
    ("shortcuts", include_str!("../../shim/rpt_shim/shortcuts.py")),
    ("inventory", include_str!("../../shim/rpt_shim/inventory.py")),
    ("sharing", include_str!("../../shim/rpt_shim/sharing.py")),
    ("reports", include_str!("../../shim/rpt_shim/reports.py")),
    ("surroundings", include_str!("../../shim/rpt_shim/surroundings.py")),
    ("temporary", include_str!("../../shim/rpt_shim/temporary.py")),
    ("identity", include_str!("../../shim/rpt_shim/identity.py")),
    ("cache", include_str!("../../shim/rpt_shim/cache.py")),
    ("board", include_str!("../../shim/rpt_shim/board.py")),
    ("leaks", include_str!("../../shim/rpt_shim/leaks.py")),
    ("stacks", include_str!("../../shim/rpt_shim/stacks.py")),
    ("quiet", include_str!("../../shim/rpt_shim/quiet.py")),
    ("light", include_str!("../../shim/rpt_shim/light.py")),
    ("parts", include_str!("../../shim/rpt_shim/parts.py")),
    ("relay", include_str!("../../shim/rpt_shim/relay.py")),
    ("worker", include_str!("../../shim/rpt_shim/worker.py")),
    ("seclusion", include_str!("../../shim/rpt_shim/seclusion.py")),
    ("dependencies", include_str!("../../shim/rpt_shim/dependencies.py")),
    ("rewritten", include_str!("../../shim/rpt_shim/rewritten.py")),
    ("voices", include_str!("../../shim/rpt_shim/voices.py")),
    ("standing", include_str!("../../shim/rpt_shim/standing.py")),
    ("unfinished", include_str!("../../shim/rpt_shim/unfinished.py")),
    ("ending", include_str!("../../shim/rpt_shim/ending.py")),
    ("findings", include_str!("../../shim/rpt_shim/findings.py")),
    ("renewed", include_str!("../../shim/rpt_shim/renewed.py")),
    ("prepared", include_str!("../../shim/rpt_shim/prepared.py")),
    ("loaded", include_str!("../../shim/rpt_shim/loaded.py")),
    ("resident", include_str!("../../shim/rpt_shim/resident.py")),
    ("deal", include_str!("../../shim/rpt_shim/deal.py")),
    ("children", include_str!("../../shim/rpt_shim/children.py")),
    ("spare", include_str!("../../shim/rpt_shim/spare.py")),
    ("staying", include_str!("../../shim/rpt_shim/staying.py")),
    ("server", include_str!("../../shim/rpt_shim/server.py")),
    ("base", include_str!("../../shim/rpt_shim/base.py")),
    ("main", include_str!("../../shim/rpt_shim/main.py")),
];

/// The first message to a new process.
#[derive(Serialize)]
pub(super) struct Boot<'a> {
    modules: &'static [(&'static str, &'static str)],
    /// Where they are kept compiled.
    kept: Option<PathBuf>,
    settings: Settings<'a>,
}

/// What a process is told of its session.
#[derive(Serialize)]
pub(super) struct Settings<'a> {
    args: &'a [String],
    options: &'a [String],
    identity: Option<&'a Identity>,
    /// Since when what is read is a dependency, in seconds since the epoch; none: it is not watched.
    watched_since: Option<f64>,
    /// The only files to collect; none: all.
    only: Option<&'a [String]>,
    /// The descriptor of the page on which it notes what it collects.
    board: i32,
    /// The user's terminal is its own: signals typed there reach it by themselves.
    terminal: bool,
    /// Workers collect their own files, where that is possible.
    deals: bool,
    /// It has no session itself, and is forked for each; the modules that it imports before.
    base: Option<&'a [String]>,
}

impl<'a> Settings<'a> {
    /// Those of a base process.
    pub(super) fn of_base(self, preload: &'a [String]) -> Settings<'a> {
        Settings { base: Some(preload), ..self }
    }
}

/// The settings of a session that is started so, at `began` in seconds since the epoch.
pub(super) fn settings<'a>(launch: &Launch<'a>, began: f64, board: i32) -> Settings<'a> {
    let (watched_since, only) = match launch.watch {
        Watch::Nothing => (None, None),
        Watch::Everything => (Some(began), None),
        Watch::Only(files) => (Some(began), Some(files)),
    };
    Settings {
        args: launch.args,
        options: launch.options,
        identity: launch.identity.map(|(identity, _)| identity),
        watched_since,
        only,
        board,
        terminal: launch.terminal,
        deals: launch.deals,
        base: None,
    }
}

/// The boot message.
pub(super) fn boot(settings: Settings) -> Boot {
    Boot { modules: MODULES, kept: user_cache_folder(), settings }
}
