//! Owns what can be told from a Python source without running it. Pure. It never
//! decides what a test is; it only says where a file certainly has no influence, and
//! every doubt counts as influence.
//!
//! - `lexer`: words, strings and operators of each logical line.
//! - `doubt`: whether something may give other ids at each collection.
//! - `scope`: what names stand for.
//! - `effect`: whether importing a file can be felt in others.
//! - `settled`: whether others can be felt at its import.
//! - `mention`: whether one file may use another.

pub mod doubt;
pub mod effect;
pub mod lexer;
pub mod mention;
mod scope;
mod settled;
