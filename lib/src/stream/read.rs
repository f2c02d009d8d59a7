//! Owns splitting bytes into records, whatever their form, without losing one.

use std::io::Read;

use serde::Deserialize;

use super::msgpack::{self, Scan, scan};
use super::{Form, MAX_RECORD_BYTES, StreamError};
use crate::record::Kind;

/// Reads one record after another from `source`, each as its own bytes.
pub struct Reader<R> {
    source: R,
    form: Option<Form>,
    buffer: Vec<u8>,
    /// Where the next record begins in `buffer`.
    start: usize,
    /// Whether what was handed out stays in `buffer`.
    keeps: bool,
    ended: bool,
    number: u64,
}

/// How much is read at a time: a pipe's usual capacity.
const CHUNK: usize = 64 << 10;

impl<R: Read> Reader<R> {
    /// A reader over `source`; the form is told by its first byte.
    pub fn new(source: R) -> Reader<R> {
        Reader { source, form: None, buffer: Vec::new(), start: 0, keeps: false, ended: false, number: 0 }
    }

    /// The form of the stream; `None` until something was read, or when it is empty.
    pub fn form(&self) -> Option<Form> {
        self.form
    }

    /// The number of the record read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next record's own bytes (JSON and ids without the line's end).
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, StreamError> {
        Ok(self.next_span()?.map(|(from, to)| &self.buffer[from..to]))
    }

    /// Where the next record is in `buffer`.
    fn next_span(&mut self) -> Result<Option<(usize, usize)>, StreamError> {
        match self.find_form()? {
            None => Ok(None),
            Some(Form::Msgpack) => self.next_msgpack(),
            Some(Form::Json) => self.next_json(),
            Some(Form::Ids) => self.next_id(),
        }
    }

    /// The next record's envelope, and its own bytes.
    pub fn next_envelope(&mut self) -> Result<Option<(RawRecord, Vec<u8>)>, StreamError> {
        let Some(bytes) = self.next_record()? else {
            return Ok(None);
        };
        let bytes = bytes.to_vec();
        let record = envelope(self.form.unwrap_or(Form::Ids), &bytes, self.number)?;
        Ok(Some((record, bytes)))
    }

    /// Skips white space before the first record and looks at what follows.
    fn find_form(&mut self) -> Result<Option<Form>, StreamError> {
        while self.form.is_none() {
            match self.buffer.get(self.start) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.start += 1,
                // A byte order mark, as some editors and shells write it.
                Some(0xef) if self.buffer.len() - self.start < 3 && !self.ended => self.fill()?,
                Some(0xef) if self.buffer[self.start..].starts_with(b"\xef\xbb\xbf") => self.start += 3,
                Some(&byte) => self.form = Some(Form::of_first_byte(byte)),
                None if self.ended => return Ok(None),
                None => self.fill()?,
            }
        }
        Ok(self.form)
    }

    fn next_msgpack(&mut self) -> Result<Option<(usize, usize)>, StreamError> {
        // A value of n bytes is scanned again only after the buffer doubled.
        let mut enough = 1;
        loop {
            let there = self.buffer.len() - self.start;
            if there == 0 && self.ended {
                return Ok(None);
            }
            if there >= enough || self.ended {
                match scan(&self.buffer[self.start..]) {
                    Scan::Complete(length) => return Ok(Some(self.take(length, length))),
                    Scan::Invalid(reason) => {
                        return Err(StreamError::Malformed { number: self.number + 1, reason: reason.to_string() });
                    }
                    Scan::Incomplete if self.ended => return Err(StreamError::CutOff { number: self.number + 1 }),
                    Scan::Incomplete => enough = there * 2,
                }
            }
            self.fill()?;
        }
    }

    fn next_json(&mut self) -> Result<Option<(usize, usize)>, StreamError> {
        if !self.skip_blanks()? {
            return Ok(None);
        }
        let Some(line) = self.find_line_end()? else {
            return Ok(None);
        };
        // An object may go on over several lines, as `jq` writes it without -c.
        let whole_line = self.buffer[self.start..line].trim_ascii_end().ends_with(b"}");
        let length = if whole_line { line - self.start } else { self.find_object_end()? };
        Ok(Some(self.take(length, length)))
    }

    fn next_id(&mut self) -> Result<Option<(usize, usize)>, StreamError> {
        while let Some(end) = self.find_line_end()? {
            if end == self.start && end == self.buffer.len() {
                return Ok(None);
            }
            let line = &self.buffer[self.start..end];
            let length = line.strip_suffix(b"\r").unwrap_or(line).len();
            let consumed = (end + 1).min(self.buffer.len()) - self.start;
            if length > 0 {
                return Ok(Some(self.take(length, consumed)));
            }
            self.start += consumed;
        }
        Ok(None)
    }

    /// Moves to the next byte that is not white space; false at the end.
    fn skip_blanks(&mut self) -> Result<bool, StreamError> {
        loop {
            let rest = &self.buffer[self.start..];
            match rest.iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(blanks) => {
                    self.start += blanks;
                    return Ok(true);
                }
                None if self.ended => return Ok(false),
                None => {
                    self.start = self.buffer.len();
                    self.fill()?;
                }
            }
        }
    }

    /// Where the line that begins at `start` ends: at its line break, or at the
    /// end of the input. `None` when nothing is left.
    fn find_line_end(&mut self) -> Result<Option<usize>, StreamError> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start + searched..]) {
                return Ok(Some(self.start + searched + at));
            }
            searched = self.buffer.len() - self.start;
            if self.ended {
                return Ok((searched > 0).then_some(self.buffer.len()));
            }
            self.fill()?;
        }
    }

    /// The length of the object that begins at `start`.
    fn find_object_end(&mut self) -> Result<usize, StreamError> {
        let mut scanned = 0;
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        loop {
            for &byte in &self.buffer[self.start + scanned..] {
                scanned += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth <= 1 => return Ok(scanned),
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
            }
            if self.ended {
                return Err(StreamError::CutOff { number: self.number + 1 });
            }
            self.fill()?;
        }
    }

    /// Hands out `length` bytes and moves `consumed` on.
    fn take(&mut self, length: usize, consumed: usize) -> (usize, usize) {
        let from = self.start;
        self.start += consumed;
        self.number += 1;
        (from, from + length)
    }

    /// Reads more, after dropping what was handed out and need not be kept.
    fn fill(&mut self) -> Result<(), StreamError> {
        if self.buffer.len() - self.start > MAX_RECORD_BYTES {
            return Err(StreamError::TooLong { number: self.number + 1 });
        }
        if !self.keeps {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let kept = self.buffer.len();
        // Never more than one chunk: what is made room for is zeroed, and a pipe fills little of it.
        self.buffer.resize(kept + CHUNK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(StreamError::Read)?,
            }
        };
        self.buffer.truncate(kept + read);
        self.ended = read == 0;
        Ok(())
    }
}

/// A record's envelope and its own bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRecord {
    /// What its `type` says.
    pub kind: Kind,
    /// Its node id; empty for a record that has none.
    pub node_id: Box<str>,
    /// The name of its xdist_group mark.
    pub group: Option<Box<str>>,
    /// Where its bytes are in [`Input::bytes`].
    span: (usize, usize),
}

/// A whole stream, read.
#[derive(Debug)]
pub struct Input {
    /// The stream's form; `None` when it was empty.
    pub form: Option<Form>,
    /// The records in the order in which they came.
    pub records: Vec<RawRecord>,
    /// The stream as it came.
    bytes: Vec<u8>,
}

impl Input {
    /// The record's own bytes, without a line's end.
    pub fn bytes(&self, record: &RawRecord) -> &[u8] {
        &self.bytes[record.span.0..record.span.1]
    }

    /// The record's struct. An error if the record lacks one of its fields.
    pub fn decode<T: serde::de::DeserializeOwned>(&self, record: &RawRecord) -> Result<T, StreamError> {
        let number = self.records.iter().take_while(|other| other.span < record.span).count() as u64 + 1;
        decode(self.form.unwrap_or(Form::Ids), self.bytes(record), number)
    }
}

/// The part of a record that every stage needs.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    node_id: Option<Box<str>>,
    #[serde(default)]
    group: Option<Box<str>>,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        struct Name;
        impl serde::de::Visitor<'_> for Name {
            type Value = Kind;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("a record's type")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Kind, E> {
                Ok(Kind::of(name))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// Reads one record's struct from its bytes. `number` is for the error.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(form: Form, bytes: &[u8], number: u64) -> Result<T, StreamError> {
    let malformed = |reason: String| StreamError::Malformed { number, reason };
    match form {
        Form::Json => serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string())),
        Form::Msgpack => rmp_serde::from_slice(bytes).map_err(|error| malformed(error.to_string())),
        Form::Ids => Err(malformed("a plain id has no fields".to_string())),
    }
}

/// Reads all of `source`. Nothing is dropped: what cannot be read is an error
/// that names its record.
pub fn read_all(source: impl Read) -> Result<Input, StreamError> {
    let mut reader = Reader { keeps: true, ..Reader::new(source) };
    let mut records = Vec::new();
    while let Some(span) = reader.next_span()? {
        let form = reader.form.unwrap_or(Form::Ids);
        let record = envelope(form, &reader.buffer[span.0..span.1], reader.number)?;
        records.push(RawRecord { span, ..record });
    }
    Ok(Input { form: reader.form, records, bytes: reader.buffer })
}

/// The envelope of one record; its span is left empty.
fn envelope(form: Form, bytes: &[u8], number: u64) -> Result<RawRecord, StreamError> {
    let malformed = |reason: &str| StreamError::Malformed { number, reason: reason.to_string() };
    let found = match form {
        Form::Ids => {
            let id = std::str::from_utf8(bytes).map_err(|_| malformed("the id is not UTF-8"))?;
            Envelope { kind: Kind::Test, node_id: Some(id.into()), group: None }
        }
        Form::Json => decode(form, bytes, number)?,
        Form::Msgpack => match msgpack::fields(bytes) {
            Some(fields) => Envelope {
                kind: Kind::of(fields.kind),
                node_id: fields.node_id.map(Box::from),
                group: fields.group.map(Box::from),
            },
            None => decode(form, bytes, number)?,
        },
    };
    if found.node_id.is_none() && matches!(found.kind, Kind::Test | Kind::Started | Kind::Result) {
        return Err(malformed("missing field `node_id`"));
    }
    Ok(RawRecord { kind: found.kind, node_id: found.node_id.unwrap_or_default(), group: found.group, span: (0, 0) })
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
