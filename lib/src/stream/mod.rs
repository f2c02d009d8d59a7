//! Owns records in and out: splitting a byte stream into records, and writing them.
//! Knows the envelope of a record (its type and node id), not what it means.

mod msgpack;
mod read;
mod write;

pub(crate) use read::decode;
pub use read::{Input, RawRecord, Reader, read_all};
pub use write::{OutputForm, Writer};

use thiserror::Error;

/// The form in which records travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Json,
    /// One msgpack map after another, fields by name.
    Msgpack,
    /// Plain node ids, one a line.
    Ids,
}

impl Form {
    /// Tells the form from a stream's first byte: `{` is JSON, a msgpack map
    /// begins with 0x80-0x8f, 0xde or 0xdf, anything else is an id.
    pub fn of_first_byte(byte: u8) -> Form {
        match byte {
            b'{' => Form::Json,
            0x80..=0x8f | 0xde | 0xdf => Form::Msgpack,
            _ => Form::Ids,
        }
    }
}

/// The largest record that is read: far above any real one, far below what
/// would exhaust memory.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// What can be wrong with a stream. Records are numbered from 1.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The bytes could not be read.
    #[error("cannot read the input")]
    Read(#[source] std::io::Error),
    /// The records could not be written.
    #[error("cannot write the output")]
    Write(#[source] std::io::Error),
    /// A record is not what its form promises.
    #[error("record {number} is malformed: {reason}")]
    Malformed {
        /// Which record, from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The stream ends inside a record.
    #[error("record {number} is cut off: the input ends inside it")]
    CutOff {
        /// Which record, from 1.
        number: u64,
    },
    /// A record is too long to be one.
    #[error("record {number} is longer than {} MiB", MAX_RECORD_BYTES >> 20)]
    TooLong {
        /// Which record, from 1.
        number: u64,
    },
    /// A node id that the plain form cannot carry.
    #[error("the node id {node_id:?} holds a line break and cannot be written as a plain id; use --format json")]
    UnwritableId {
        /// The id.
        node_id: String,
    },
}
