//! Owns the options about what tests share.

use clap::Args;
use rpt::settings::Dist;

#[derive(Args)]
#[command(next_help_heading = "Sharing")]
pub(crate) struct ShareArgs {
    /// Which tests stay on one worker; those of one xdist_group or exclusive fixture always
    /// do [default: dist of the project's settings, else auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) dist: Option<Dist>,
}
