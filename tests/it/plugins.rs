//! Beside real plugins of pytest: what rpt makes of a suite that uses one is compared with
//! what plain pytest or pytest-xdist makes of it.
//!
//! `RPT_TEST_PLUGINS_PYTHON` names the Python that has the plugins; without it the one of
//! `.venvs/plugins`, which `scripts/venv plugins` makes.

mod around;
mod beside;
mod coverage;
mod kinds;
mod reports;
mod schema;
mod suites;
