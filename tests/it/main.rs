//! The end-to-end tests: they run the real binaries.

#[cfg(test)]
mod history;
