//! Owns the bytes of the daemon's connections: frames on the socket, lines or bare maps on
//! stdin, and how much of anything is taken in. Knows no request.
//!
//! On the socket a message is a u32 little-endian length and then a msgpack or JSON value;
//! on stdin JSON Lines or one msgpack value after another, told by the first byte. Whoever
//! breaks these rules is told so and loses the connection.

use std::io::{BufRead, ErrorKind, Read, Write};

use serde::Serialize;
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The largest message.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;

/// So deep may maps and lists be nested: the deepest message of the protocol has three.
const MAX_DEPTH: u32 = 32;

/// So many values may a message hold: far more than the ids of any suite, and each takes
/// 32 bytes of memory where it took one on the wire.
const MAX_VALUES: u32 = 2_000_000;

/// A message is read in such pieces, so that a length that lies costs nothing.
const PIECE: usize = 64 << 10;

/// The form of a message, in which its answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Msgpack,
}

/// Why no message comes.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// What came breaks the rules.
    #[error("{0}")]
    Broken(String),
    /// The connection does not work any more.
    #[error("{0}")]
    Lost(#[from] std::io::Error),
}

fn broken(what: impl Into<String>) -> WireError {
    WireError::Broken(what.into())
}

/// The next frame's message; `None` at the end.
pub(crate) fn read_frame(source: &mut impl Read) -> Result<Option<(Value, Encoding)>, WireError> {
    let mut length = [0; 4];
    if !fill(source, &mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(broken(format!("a message of {length} bytes is longer than {MAX_MESSAGE}")));
    }
    let mut body = Vec::new();
    while body.len() < length {
        let from = body.len();
        body.resize(length.min(from + PIECE), 0);
        if !fill(source, &mut body[from..])? {
            return Err(broken(format!("the connection ended within a message of {length} bytes")));
        }
    }
    decode(&body).map(Some)
}

/// The message that `body` is.
fn decode(body: &[u8]) -> Result<(Value, Encoding), WireError> {
    match body.first() {
        None => Err(broken("an empty message")),
        Some(byte) if is_json(*byte) => Ok((json(body)?, Encoding::Json)),
        Some(_) => {
            let mut rest = body;
            let value = msgpack(&mut rest)?;
            if !rest.is_empty() {
                return Err(broken(format!("{} bytes follow the message in its frame", rest.len())));
            }
            Ok((value, Encoding::Msgpack))
        }
    }
}

/// The next message of stdin; `None` at the end. Blank lines are no messages.
pub(crate) fn read_bare(source: &mut impl BufRead) -> Result<Option<(Value, Encoding)>, WireError> {
    loop {
        match source.fill_buf()?.first() {
            None => return Ok(None),
            Some(byte) if byte.is_ascii_whitespace() => source.consume(1),
            Some(byte) if is_json(*byte) => break,
            Some(_) => return Ok(Some((msgpack(source)?, Encoding::Msgpack))),
        }
    }
    let mut line = Vec::new();
    source.by_ref().take(MAX_MESSAGE as u64 + 1).read_until(b'\n', &mut line)?;
    if line.len() > MAX_MESSAGE {
        return Err(broken(format!("a message is longer than {MAX_MESSAGE} bytes")));
    }
    Ok(Some((json(&line)?, Encoding::Json)))
}

/// A message as a frame.
pub(crate) fn frame(message: &impl Serialize, encoding: Encoding) -> std::io::Result<Vec<u8>> {
    let body = encode(message, encoding)?;
    let length = u32::try_from(body.len()).map_err(|_| std::io::Error::from(ErrorKind::FileTooLarge))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

/// A message as it stands on stdout.
pub(crate) fn write_bare(out: &mut impl Write, message: &impl Serialize, encoding: Encoding) -> std::io::Result<()> {
    let mut bytes = encode(message, encoding)?;
    if encoding == Encoding::Json {
        bytes.push(b'\n');
    }
    out.write_all(&bytes)?;
    out.flush()
}

fn encode(message: &impl Serialize, encoding: Encoding) -> std::io::Result<Vec<u8>> {
    match encoding {
        Encoding::Json => serde_json::to_vec(message).map_err(std::io::Error::from),
        Encoding::Msgpack => rmp_serde::to_vec_named(message).map_err(std::io::Error::other),
    }
}

/// Whether a value that begins so is JSON: a map or a list. In msgpack these bytes are
/// small numbers, which are no messages.
fn is_json(byte: u8) -> bool {
    byte == b'{' || byte == b'['
}

/// Fills `bytes`; false: the end came first, and nothing before it.
fn fill(source: &mut impl Read, bytes: &mut [u8]) -> Result<bool, WireError> {
    let mut at = 0;
    while at < bytes.len() {
        match source.read(&mut bytes[at..]) {
            Ok(0) if at == 0 => return Ok(false),
            Ok(0) => return Err(broken("the connection ended within a message")),
            Ok(count) => at += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn json(bytes: &[u8]) -> Result<Value, WireError> {
    let (mut depth, mut values, mut in_text, mut escaped) = (0_u32, 0_u32, false, false);
    for &byte in bytes {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (true, _) => {}
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, b',') => values += 1,
            (false, _) => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
    }
    if values > MAX_VALUES {
        return Err(too_many());
    }
    serde_json::from_slice(bytes).map_err(|error| broken(format!("no JSON: {error}")))
}

fn too_deep() -> WireError {
    broken(format!("a message is nested deeper than {MAX_DEPTH}"))
}

fn too_many() -> WireError {
    broken(format!("a message holds more than {MAX_VALUES} values"))
}

/// Reads one msgpack value.
fn msgpack(source: &mut impl Read) -> Result<Value, WireError> {
    Decoder { source, values: MAX_VALUES, bytes: MAX_MESSAGE as u64 }.value(0)
}

struct Decoder<'a, R> {
    source: &'a mut R,
    /// How many values may still come.
    values: u32,
    /// How many bytes may still come.
    bytes: u64,
}

impl<R: Read> Decoder<'_, R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.spend(N as u64)?;
        let mut bytes = [0; N];
        if N > 0 && !fill(self.source, &mut bytes)? {
            return Err(broken("the input ended within a message"));
        }
        Ok(bytes)
    }

    fn spend(&mut self, count: u64) -> Result<(), WireError> {
        match self.bytes.checked_sub(count) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(broken(format!("a message is longer than {MAX_MESSAGE} bytes"))),
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value, WireError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.values = self.values.checked_sub(1).ok_or_else(too_many)?;
        let [tag] = self.take()?;
        Ok(match tag {
            0x00..=0x7f => tag.into(),
            0x80..=0x8f => self.map(u32::from(tag & 0x0f), depth)?,
            0x90..=0x9f => self.list(u32::from(tag & 0x0f), depth)?,
            0xa0..=0xbf => self.text(u32::from(tag & 0x1f))?,
            0xc0 => Value::Null,
            0xc2 | 0xc3 => Value::Bool(tag == 0xc3),
            0xca => number(f64::from(f32::from_be_bytes(self.take()?)))?,
            0xcb => number(f64::from_be_bytes(self.take()?))?,
            0xcc => u8::from_be_bytes(self.take()?).into(),
            0xcd => u16::from_be_bytes(self.take()?).into(),
            0xce => u32::from_be_bytes(self.take()?).into(),
            0xcf => u64::from_be_bytes(self.take()?).into(),
            0xd0 => i8::from_be_bytes(self.take()?).into(),
            0xd1 => i16::from_be_bytes(self.take()?).into(),
            0xd2 => i32::from_be_bytes(self.take()?).into(),
            0xd3 => i64::from_be_bytes(self.take()?).into(),
            0xd9..=0xdb => {
                let length = self.count(tag - 0xd9)?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let length = self.count(tag - 0xdb)?;
                self.list(length, depth)?
            }
            0xde | 0xdf => {
                let length = self.count(tag - 0xdd)?;
                self.map(length, depth)?
            }
            0xe0..=0xff => (tag as i8).into(),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(broken(format!("no message holds msgpack's {tag:#04x}"))),
        })
    }

    /// A length of 1, 2 or 4 bytes.
    fn count(&mut self, size: u8) -> Result<u32, WireError> {
        Ok(match size {
            0 => u8::from_be_bytes(self.take()?).into(),
            1 => u16::from_be_bytes(self.take()?).into(),
            _ => u32::from_be_bytes(self.take()?),
        })
    }

    fn text(&mut self, length: u32) -> Result<Value, WireError> {
        self.spend(length.into())?;
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        if read < length as usize {
            return Err(broken("the input ended within a text"));
        }
        String::from_utf8(bytes).map(Value::String).map_err(|_| broken("a text is no UTF-8"))
    }

    fn list(&mut self, length: u32, depth: u32) -> Result<Value, WireError> {
        (0..length).map(|_| self.value(depth + 1)).collect()
    }

    fn map(&mut self, length: u32, depth: u32) -> Result<Value, WireError> {
        let mut map = Map::new();
        for _ in 0..length {
            let Value::String(key) = self.value(depth + 1)? else {
                return Err(broken("a map has a key that is no text"));
            };
            map.insert(key, self.value(depth + 1)?);
        }
        Ok(Value::Object(map))
    }
}

fn number(value: f64) -> Result<Value, WireError> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| broken("a number is not finite"))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
