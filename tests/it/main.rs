//! The end-to-end tests: one module for each stage of the pipe, and what they share.

mod filters;
mod history;
mod order;
mod shard;
