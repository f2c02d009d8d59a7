//! Owns a reader that refuses a part of a file (a test case, a result of a document) too large
//! to be one, so that a file of any size is read in little memory. Knows no format.

use std::cell::Cell;
use std::io::{BufRead, Read};
use std::rc::Rc;

use crate::stream::MAX_RECORD_BYTES;

/// A reader that fails once a part is longer than [`MAX_RECORD_BYTES`].
pub(super) struct Bounded<R> {
    source: R,
    part: Part,
}

/// The part that is being read; whoever knows the format says where one begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Part(Rc<Cell<usize>>);

impl Part {
    /// A part begins here.
    pub(super) fn begin(&self) {
        self.0.set(0);
    }
}

impl<R: BufRead> Bounded<R> {
    pub(super) fn new(source: R) -> Bounded<R> {
        Bounded { source, part: Part::default() }
    }

    /// The part that is being read.
    pub(super) fn part(&self) -> Part {
        self.part.clone()
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.part.0.get() > MAX_RECORD_BYTES {
            return Err(std::io::Error::other(format!("a part of it is longer than {} MiB", MAX_RECORD_BYTES >> 20)));
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.part.0.set(self.part.0.get() + count);
        self.source.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_any_number_but_not_of_any_size() {
        let byte_by_byte = |bytes: usize, begins_every: usize| {
            let mut reader = Bounded::new(std::io::BufReader::new(std::io::repeat(b'x').take(bytes as u64)));
            let part = reader.part();
            let mut read = 0;
            while read < bytes {
                part.begin();
                read += std::io::copy(&mut (&mut reader).take(begins_every as u64), &mut std::io::sink())? as usize;
            }
            Ok::<_, std::io::Error>(read)
        };
        assert_eq!(byte_by_byte(MAX_RECORD_BYTES * 3, MAX_RECORD_BYTES / 2).unwrap(), MAX_RECORD_BYTES * 3);
        let error = byte_by_byte(MAX_RECORD_BYTES * 3, MAX_RECORD_BYTES * 2).unwrap_err();
        assert_eq!(error.to_string(), "a part of it is longer than 64 MiB");
    }
}
