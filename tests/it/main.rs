//! The end-to-end tests.

mod history;
