//! Owns results that wait to be written: in memory, and where there are many of them or
//! long ones in a temporary file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};

use super::HistoryError;
use super::append::Entry;

/// So many results are held in memory.
const HELD_RESULTS: usize = 20_000;

/// The same, by the length of their texts.
const HELD_BYTES: usize = 8 << 20;

/// How many results of a temporary file are read at a time.
const CHUNK: u64 = 4096;

/// Results in the order in which they came.
#[derive(Default)]
pub(super) struct Held {
    /// The newest.
    entries: Vec<Entry>,
    bytes: usize,
    /// What came before them.
    file: Option<File>,
    in_file: u64,
    file_bytes: u64,
}

impl Held {
    /// Adds a result. Where there is no room for a temporary file it stays in memory with those
    /// before it, and that is said.
    pub(super) fn push(&mut self, entry: Entry) -> std::io::Result<()> {
        self.bytes += entry.text_bytes();
        self.entries.push(entry);
        if self.entries.len() < HELD_RESULTS && self.bytes < HELD_BYTES {
            return Ok(());
        }
        self.spill()
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.in_file + self.entries.len() as u64
    }

    /// Hands all results to `take`, many at a time. Can be done again.
    pub(super) fn each(&self, mut take: impl FnMut(&[Entry]) -> Result<(), HistoryError>) -> Result<(), HistoryError> {
        if let Some(file) = &self.file {
            let mut file = file;
            file.rewind().map_err(HistoryError::Held)?;
            let mut source = BufReader::new(file);
            let mut left = self.in_file;
            while left > 0 {
                let count = left.min(CHUNK);
                let chunk: Result<Vec<Entry>, _> = (0..count).map(|_| rmp_serde::from_read(&mut source)).collect();
                take(&chunk.map_err(|error| HistoryError::Held(std::io::Error::other(error)))?)?;
                left -= count;
            }
        }
        take(&self.entries)
    }

    /// Moves what is in memory into the temporary file.
    fn spill(&mut self) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        // Not at its end: a write may have failed half-way.
        file.seek(SeekFrom::Start(self.file_bytes))?;
        let mut file = BufWriter::new(file);
        for entry in &self.entries {
            file.write_all(&rmp_serde::to_vec(entry).map_err(std::io::Error::other)?)?;
        }
        file.flush()?;
        self.file_bytes = file.stream_position()?;
        self.in_file += self.entries.len() as u64;
        self.entries.clear();
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_come_back_in_order_as_often_as_asked() {
        let mut held = Held::default();
        let entry = |number: usize| Entry { node_id: number.to_string(), ..Entry::default() };
        let ids = |held: &Held| {
            let mut ids = Vec::new();
            let taken = held.each(|entries| {
                ids.extend(entries.iter().map(|entry| entry.node_id.clone()));
                Ok(())
            });
            taken.unwrap();
            ids
        };
        assert_eq!(ids(&held), Vec::<String>::new());
        let count = 2 * HELD_RESULTS + 7;
        for number in 0..count {
            held.push(entry(number)).unwrap();
            if number == HELD_RESULTS + 1 {
                assert_eq!(ids(&held).len(), number + 1);
            }
        }
        let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!((held.len(), ids(&held), ids(&held)), (count as u64, expected.clone(), expected));
    }

    #[test]
    fn long_texts_wait_in_a_file_too() {
        let mut held = Held::default();
        held.push(Entry { message: Some("x".repeat(HELD_BYTES)), ..Entry::default() }).unwrap();
        assert!(held.file.is_some() && held.entries.is_empty() && held.len() == 1);
    }
}
