//! Owns reading the JSON history document, version 2, as a stream: one result at a time.
//! Tolerant: a run or a result that is not what it should be is left out and counted; only
//! text that is no JSON ends the reading.

use std::fmt;
use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::RunHead;
use super::super::append::{End, Entry};
use super::super::canonical::micros;
use super::super::store::Store;
use super::bounded::{Bounded, Part};
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::outcome::Outcome;

pub(super) fn import(
    store: &mut Store,
    source: impl BufRead,
    template: &RunHead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let source = Bounded::new(source);
    let mut document = Document { store, template, imported, fault: None, part: source.part() };
    let mut text = serde_json::Deserializer::from_reader(source);
    let read = (&mut document).deserialize(&mut text).and_then(|()| text.end());
    match (document.fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(ImportError::Malformed(error.to_string())),
        (None, Ok(())) => Ok(()),
    }
}

/// The whole document.
struct Document<'a> {
    store: &'a mut Store,
    template: &'a RunHead,
    imported: &'a mut Imported,
    /// Why reading stopped, where it was not the text: the reader's own errors are text.
    fault: Option<ImportError>,
    part: Part,
}

impl Document<'_> {
    /// Takes a run in; `None` is something else than a run.
    fn take(&mut self, run: Option<Run>) -> Result<(), ImportError> {
        let run = run.filter(|run| run.run_id.is_some() || run.timestamp_us.is_some());
        let Some((run, results)) = run.and_then(|mut run| run.results.take().map(|results| (run, results))) else {
            self.imported.skipped_runs += 1;
            return Ok(());
        };
        let head = RunHead {
            started_at_us: run.timestamp_us.unwrap_or(self.template.started_at_us),
            commit_id: run.commit_id,
            branch: run.branch,
            ..RunHead::default()
        };
        self.imported.skipped_results += run.skipped_results;
        results.finish(self.store, &head, run.run_id, Some(&End::default()), self.imported)
    }

    /// What stops the reading when `done` is a fault.
    fn or_stop<E: serde::de::Error>(&mut self, done: Result<(), ImportError>) -> Result<(), E> {
        done.map_err(|fault| {
            let text = fault.to_string();
            self.fault = Some(fault);
            E::custom(text)
        })
    }
}

/// What a run of the document holds.
#[derive(Default)]
struct Run {
    run_id: Option<String>,
    timestamp_us: Option<i64>,
    commit_id: Option<String>,
    branch: Option<String>,
    /// `None`: there is no list of results.
    results: Option<RunImport>,
    skipped_results: u64,
}

impl<'de> DeserializeSeed<'de> for &mut Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Document<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a history document: an object with version and runs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => {
                    let version: Value = map.next_value()?;
                    if version != 2 {
                        return Err(serde::de::Error::custom(format!("version 2 was expected, not {version}")));
                    }
                }
                "runs" => map.next_value_seed(Runs(self))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The list of runs.
struct Runs<'a, 'b>(&'a mut Document<'b>);

impl<'de> DeserializeSeed<'de> for Runs<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Runs<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a list of runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(run) = seq.next_element_seed(OneRun(self.0))? {
            self.0.part.begin();
            let taken = self.0.take(run);
            self.0.or_stop(taken)?;
        }
        Ok(())
    }
}

/// Reads over any value of another kind, a list included, and tells it as `$other`.
macro_rules! read_over {
    ($value:ty, $other:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<$value, E> {
            Ok($other)
        }

        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($other)
        }

        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($other)
        }

        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($other)
        }

        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($other)
        }

        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok($other)
        }
    };
}

/// One run; anything else than an object is read over.
struct OneRun<'a, 'b>(&'a mut Document<'b>);

impl<'de> DeserializeSeed<'de> for OneRun<'_, '_> {
    type Value = Option<Run>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Run>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneRun<'_, '_> {
    type Value = Option<Run>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a run")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Run>, A::Error> {
        let text = |value: Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
        let mut run = Run::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "run_id" => run.run_id = text(map.next_value()?),
                "timestamp" => run.timestamp_us = moment(&map.next_value()?),
                "commit_id" => run.commit_id = text(map.next_value()?),
                "branch" => run.branch = text(map.next_value()?),
                "results" => map.next_value_seed(Results(self.0, &mut run))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(run))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Run>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    read_over!(Option<Run>, None);
}

/// The results of a run; anything else than a list is read over.
struct Results<'a, 'b>(&'a mut Document<'b>, &'a mut Run);

impl<'de> DeserializeSeed<'de> for Results<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Results<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a list of results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Results(document, run) = self;
        let results = run.results.get_or_insert_default();
        while let Some(value) = seq.next_element::<Value>()? {
            document.part.begin();
            match entry(&value) {
                Some(entry) if entry.outcome == Outcome::NotRun => {}
                Some(entry) => document.or_stop(results.push(entry))?,
                None => run.skipped_results += 1,
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    read_over!((), ());
}

/// A result; `None` without a node id or an outcome. An outcome of no known name is an error.
fn entry(value: &Value) -> Option<Entry> {
    let outcome = match value.get("outcome")?.as_str()? {
        "xfailed" => Outcome::Skipped,
        "xpassed" => Outcome::Passed,
        name => Outcome::from_name(name).unwrap_or(Outcome::Error),
    };
    let addresses = value.get("symbol_addresses").filter(|addresses| addresses.is_array());
    Some(Entry {
        node_id: value.get("node_id")?.as_str()?.to_string(),
        outcome,
        duration_us: micros(value.get("duration_ms").and_then(Value::as_f64).unwrap_or_default()),
        message: value.get("longrepr").and_then(Value::as_str).map(str::to_string),
        symbol_addresses: addresses.map(Value::to_string),
        ..Entry::default()
    })
}

/// A timestamp in microseconds since the Unix epoch: ISO 8601 (UTC where it names no zone), or
/// seconds, milliseconds or microseconds since the epoch, told apart by their size.
fn moment(value: &Value) -> Option<i64> {
    let number = match value {
        Value::String(text) => {
            if let Ok(moment) = text.parse::<Timestamp>() {
                return Some(moment.as_microsecond());
            }
            if let Ok(naive) = text.parse::<DateTime>() {
                return Some(naive.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond());
            }
            text.parse::<f64>().ok()?
        }
        other => other.as_f64()?,
    };
    // 1e11 seconds is the year 5138; 1e11 milliseconds is March 1973.
    let scale = match number.abs() {
        ..1e11 => 1e6,
        ..1e14 => 1e3,
        _ => 1.0,
    };
    number.is_finite().then(|| (number * scale).round() as i64)
}
