//! Owns the shim's source, carried inside the binary, and the message that boots it.

use serde::Serialize;

use super::Launch;
use super::control::Identity;

/// The program given to `python -c`.
pub(super) const BOOT: &str = include_str!("../../shim/boot.py");

/// The shim's modules in the order in which they may import each other.
const MODULES: [(&str, &str); 17] = [
    ("interpreter", include_str!("../../shim/rpt_shim/interpreter.py")),
    ("wire", include_str!("../../shim/rpt_shim/wire.py")),
    ("marks", include_str!("../../shim/rpt_shim/marks.py")),
    ("inventory", include_str!("../../shim/rpt_shim/inventory.py")),
    ("reports", include_str!("../../shim/rpt_shim/reports.py")),
    ("surroundings", include_str!("../../shim/rpt_shim/surroundings.py")),
    ("identity", include_str!("../../shim/rpt_shim/identity.py")),
    ("cache", include_str!("../../shim/rpt_shim/cache.py")),
    ("board", include_str!("../../shim/rpt_shim/board.py")),
    ("orphans", include_str!("../../shim/rpt_shim/orphans.py")),
    ("leaks", include_str!("../../shim/rpt_shim/leaks.py")),
    ("stacks", include_str!("../../shim/rpt_shim/stacks.py")),
    ("quiet", include_str!("../../shim/rpt_shim/quiet.py")),
    ("light", include_str!("../../shim/rpt_shim/light.py")),
    ("worker", include_str!("../../shim/rpt_shim/worker.py")),
    ("server", include_str!("../../shim/rpt_shim/server.py")),
    ("main", include_str!("../../shim/rpt_shim/main.py")),
];

/// The first message to a new process.
#[derive(Serialize)]
pub(super) struct Boot<'a> {
    modules: [(&'static str, &'static str); MODULES.len()],
    settings: Settings<'a>,
}

#[derive(Serialize)]
struct Settings<'a> {
    args: &'a [String],
    options: &'a [String],
    identity: Option<&'a Identity>,
}

/// The boot message for a process that is started so.
pub(super) fn boot<'a>(launch: &Launch<'a>) -> Boot<'a> {
    let settings = Settings { args: launch.args, options: launch.options, identity: launch.identity };
    Boot { modules: MODULES, settings }
}
