//! Owns the end-to-end tests: they spawn the real binaries, a real Python and a
//! real pytest. Only the filters' tests use the crate's types, to make a history.
//!
//! `RPT_TEST_PYTHON` names the Python to test with; without it the one of
//! `.venvs/pytest9`, which `scripts/venv pytest9` makes.

#![expect(clippy::unwrap_used, reason = "a test that finds no value has failed, and says where")]

mod command;
mod output;
mod plain;
mod plugins;
mod postgres;
mod process;
mod project;
mod start;
mod suites;

mod bad_input;
mod collect;
mod crash;
mod faults;
mod filters;
mod generated;
mod github;
mod handoff;
mod help;
mod history;
mod identity;
mod interrupt;
mod inventory;
mod junit;
mod leaks;
mod order;
mod pytest_options;
mod quarantine;
mod queue;
mod recipes;
mod remembered;
mod replay;
mod rerun;
mod run;
mod serve;
mod shard;
mod shared_history;
mod sharing;
mod terminal;
mod timeout;
mod unfinished;
mod verify;
mod view;
mod watch;
mod watchdog;
