//! Owns what is kept of a collection: its identity, what it depended on, and the
//! snapshot that stands for it while nothing of that has changed.
//!
//! A snapshot is trusted only where every input is proven unchanged; whatever cannot
//! be proven is collected again. Nothing here starts Python.

pub mod dependencies;
mod digest;
pub mod file_state;
pub mod partial;
pub mod snapshot;
pub mod store;
pub mod watched;

pub use digest::{InventoryHasher, TestsHasher, hex_digest};
