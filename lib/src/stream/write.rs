//! Owns putting records on a stream, in any form.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::{Form, Input, RawRecord, StreamError, decode};
use crate::record::{Kind, Record};

/// What a stage writes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputForm {
    /// Records, in this form.
    Records(Form),
    /// A view for people.
    Text,
}

/// Writes records to `out`. Bytes are buffered until [`Writer::flush`].
pub struct Writer<W: Write> {
    out: std::io::BufWriter<W>,
    form: Form,
}

impl<W: Write> Writer<W> {
    /// A writer of records in `form`.
    pub fn new(out: W, form: Form) -> Writer<W> {
        Writer { out: std::io::BufWriter::with_capacity(64 << 10, out), form }
    }

    /// Writes one record. In the plain form only tests and results have a line.
    pub fn write(&mut self, record: &Record) -> Result<(), StreamError> {
        match self.form {
            Form::Json => {
                serde_json::to_writer(&mut self.out, record).map_err(|error| StreamError::Write(error.into()))?;
                self.out.write_all(b"\n").map_err(StreamError::Write)
            }
            Form::Msgpack => rmp_serde::encode::write_named(&mut self.out, record)
                .map_err(|error| StreamError::Write(write_error(error))),
            Form::Ids => match record {
                Record::Test(test) => self.write_id(&test.node_id),
                Record::Result(result) => self.write_id(&result.node_id),
                _ => Ok(()),
            },
        }
    }

    /// Writes records that are JSON Lines already. For [`Form::Json`] only.
    pub fn write_lines(&mut self, lines: &[u8]) -> Result<(), StreamError> {
        self.out.write_all(lines).map_err(StreamError::Write)
    }

    /// Writes a record of a type that is not the pipe's own; none in the plain form.
    pub fn write_other(&mut self, record: &impl serde::Serialize) -> Result<(), StreamError> {
        match self.form {
            Form::Msgpack => rmp_serde::encode::write_named(&mut self.out, record)
                .map_err(|error| StreamError::Write(write_error(error))),
            Form::Json => {
                serde_json::to_writer(&mut self.out, record).map_err(|error| StreamError::Write(error.into()))?;
                self.end_record()
            }
            Form::Ids => Ok(()),
        }
    }

    /// Forwards a record that was read: its own bytes where the form allows it.
    pub fn forward(&mut self, input: &Input, record: &RawRecord) -> Result<(), StreamError> {
        let bytes = input.bytes(record);
        let came_as = input.form.unwrap_or(Form::Ids);
        if self.form == Form::Ids {
            return match record.kind {
                Kind::Test | Kind::Result => self.write_id(&record.node_id),
                _ => Ok(()),
            };
        }
        if came_as == self.form {
            self.out.write_all(bytes).map_err(StreamError::Write)?;
            return self.end_record();
        }
        let value = match came_as {
            Form::Ids => serde_json::json!({"type": "test", "node_id": record.node_id}),
            Form::Json | Form::Msgpack => decode(came_as, bytes, 0)?,
        };
        self.write_value(&value)
    }

    /// Forwards a record with fields set or replaced, every other field as it was.
    pub fn forward_with(
        &mut self,
        input: &Input,
        record: &RawRecord,
        fields: &[(&str, Value)],
    ) -> Result<(), StreamError> {
        if self.form == Form::Ids || fields.is_empty() {
            return self.forward(input, record);
        }
        let mut value: Value = match input.form.unwrap_or(Form::Ids) {
            Form::Ids => serde_json::json!({"type": "test", "node_id": record.node_id}),
            form => decode(form, input.bytes(record), 0)?,
        };
        if let Value::Object(map) = &mut value {
            for (name, field) in fields {
                map.insert((*name).to_string(), field.clone());
            }
        }
        self.write_value(&value)
    }

    /// Hands everything written so far to the reader.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        self.out.flush().map_err(StreamError::Write)
    }

    fn write_value(&mut self, value: &Value) -> Result<(), StreamError> {
        match self.form {
            Form::Msgpack => rmp_serde::encode::write_named(&mut self.out, value)
                .map_err(|error| StreamError::Write(write_error(error))),
            Form::Json | Form::Ids => {
                serde_json::to_writer(&mut self.out, value).map_err(|error| StreamError::Write(error.into()))?;
                self.end_record()
            }
        }
    }

    fn write_id(&mut self, node_id: &str) -> Result<(), StreamError> {
        if node_id.contains(['\n', '\r']) {
            return Err(StreamError::UnwritableId { node_id: node_id.to_string() });
        }
        self.out.write_all(node_id.as_bytes()).map_err(StreamError::Write)?;
        self.out.write_all(b"\n").map_err(StreamError::Write)
    }

    fn end_record(&mut self) -> Result<(), StreamError> {
        match self.form {
            Form::Msgpack => Ok(()),
            Form::Json | Form::Ids => self.out.write_all(b"\n").map_err(StreamError::Write),
        }
    }
}

/// The I/O error inside an encoder's error, so that a closed pipe is still seen as one.
fn write_error(error: rmp_serde::encode::Error) -> std::io::Error {
    use rmp_serde::encode::Error;
    match error {
        Error::InvalidValueWrite(inner) => std::io::Error::from(inner),
        other => std::io::Error::new(ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_all;
    use super::*;

    fn forward(bytes: &[u8], form: Form) -> Vec<u8> {
        let input = read_all(bytes).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, form);
        for record in &input.records {
            writer.forward(&input, record).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        out
    }

    #[test]
    fn own_bytes_and_there_and_back() {
        let json = b"{\"type\":\"test\",  \"node_id\":\"a\", \"z\":{\"b\":1,\"a\":[1.5,null,-3]}}\n{\"type\":\"later\",\"big\":18446744073709551615}\n";
        assert_eq!(forward(json, Form::Json), json);
        let msgpack = forward(json, Form::Msgpack);
        assert_eq!(forward(&msgpack, Form::Msgpack), msgpack);
        let back = forward(&msgpack, Form::Json);
        assert_eq!(
            String::from_utf8(back).unwrap(),
            "{\"type\":\"test\",\"node_id\":\"a\",\"z\":{\"b\":1,\"a\":[1.5,null,-3]}}\n{\"type\":\"later\",\"big\":18446744073709551615}\n"
        );
        assert_eq!(forward(json, Form::Ids), b"a\n");
        assert_eq!(forward(b"a.py::f\n", Form::Json), b"{\"type\":\"test\",\"node_id\":\"a.py::f\"}\n");
    }

    #[test]
    fn an_id_with_a_line_break_is_refused_in_the_plain_form() {
        let input = read_all(&b"{\"type\":\"test\",\"node_id\":\"a\\nb\"}"[..]).unwrap();
        let mut writer = Writer::new(Vec::new(), Form::Ids);
        assert!(matches!(writer.forward(&input, &input.records[0]), Err(StreamError::UnwritableId { .. })));
    }

    #[test]
    fn a_field_is_added_without_touching_the_others() {
        let input = read_all(&b"{\"type\":\"test\",\"node_id\":\"a\",\"x\":1}"[..]).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Form::Json);
        writer.forward_with(&input, &input.records[0], &[("why", Value::from("new"))]).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(out, b"{\"type\":\"test\",\"node_id\":\"a\",\"x\":1,\"why\":\"new\"}\n");
    }
}
