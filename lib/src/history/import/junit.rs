//! Owns reading JUnit XML as pytest writes it, as a stream. Entities other than XML's own
//! five and character references are refused, and so is a document type: nothing is expanded.

use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use quick_xml::events::{BytesStart, Event};

use super::super::RunHead;
use super::super::append::{End, Entry};
use super::super::canonical::micros;
use super::super::select::TestFilter;
use super::super::store::Store;
use super::bounded::Bounded;
use super::junit_address::KnownIds;
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::outcome::{Outcome, Phase};

/// Every test suite of the file is a run.
pub(super) fn import(
    store: &mut Store,
    source: impl BufRead,
    template: &RunHead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let known = KnownIds::new(store.node_ids(&TestFilter::default())?);
    let source = Bounded::new(source);
    let part = source.part();
    let mut reader = quick_xml::Reader::from_reader(source);
    let mut buffer = Vec::new();
    let mut suites: Vec<Suite> = Vec::new();
    let mut case: Option<Case> = None;
    let (mut depth, mut seen) = (0_u32, false);
    loop {
        buffer.clear();
        if case.is_none() {
            part.begin();
        }
        let event = reader.read_event_into(&mut buffer);
        let at = reader.buffer_position();
        let malformed = |what: String| ImportError::Malformed(format!("byte {at}: {what}"));
        let event = event.map_err(|error| malformed(error.to_string()))?;
        let empty = matches!(event, Event::Empty(_));
        match &event {
            Event::DocType(_) => {
                return Err(malformed("a document type, which pytest never writes, is not read".to_string()));
            }
            Event::Start(tag) | Event::Empty(tag) => {
                depth += u32::from(!empty);
                let tag = Tag::new(tag).map_err(malformed)?;
                match (tag.name.as_str(), &mut case) {
                    ("testsuites", None) => seen = true,
                    ("testsuite", None) => {
                        seen = true;
                        suites.push(Suite::new(&tag, template));
                        if empty && let Some(suite) = suites.pop() {
                            suite.end(store, imported)?;
                        }
                    }
                    ("testcase", None) => {
                        case = Some(Case::new(&tag, &known));
                        if empty && let Some(case) = case.take() {
                            suites
                                .last_mut()
                                .ok_or_else(|| malformed("a testcase outside a testsuite".to_string()))?
                                .take(case)?;
                        }
                    }
                    (_, Some(case)) => case.child(&tag),
                    (_, None) if !seen => {
                        return Err(malformed(format!(
                            "<{}> where <testsuites> or <testsuite> was expected",
                            tag.name
                        )));
                    }
                    _ => {}
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                match tag.name().as_ref() {
                    b"testcase" => {
                        if let (Some(case), Some(suite)) = (case.take(), suites.last_mut()) {
                            suite.take(case)?;
                        }
                    }
                    b"testsuite" => {
                        if let Some(suite) = suites.pop() {
                            suite.end(store, imported)?;
                        }
                    }
                    _ => {
                        if let Some(case) = &mut case {
                            case.inside = false;
                        }
                    }
                }
            }
            Event::Text(text) => {
                if let Some(case) = &mut case {
                    case.add(&text.decode().map_err(|error| malformed(error.to_string()))?);
                }
            }
            Event::CData(text) => {
                if let Some(case) = &mut case {
                    case.add(&text.decode().map_err(|error| malformed(error.to_string()))?);
                }
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| malformed(error.to_string()))?;
                let text = quick_xml::escape::unescape(&format!("&{name};"))
                    .map_err(|error| malformed(error.to_string()))?
                    .into_owned();
                if let Some(case) = &mut case {
                    case.add(&text);
                }
            }
            Event::Eof if depth > 0 => return Err(malformed("the file ends inside an element".to_string())),
            Event::Eof if !seen => return Err(malformed("no <testsuite> in it".to_string())),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// A start tag, taken apart.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn new(tag: &BytesStart) -> Result<Tag, String> {
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let raw = std::str::from_utf8(&attribute.value).map_err(|_| "an attribute is not UTF-8".to_string())?;
            let value = quick_xml::escape::unescape(raw).map_err(|error| error.to_string())?;
            attributes.push((String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value.into_owned()));
        }
        Ok(Tag { name: String::from_utf8_lossy(tag.name().as_ref()).into_owned(), attributes })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An attribute in seconds, as whole microseconds.
    fn time(&self, name: &str) -> Option<i64> {
        // Writers of other tools put thousands separators in.
        self.get(name)?.replace(',', "").parse::<f64>().ok().map(|seconds| micros(seconds * 1000.0))
    }
}

/// A run that is read.
struct Suite {
    head: RunHead,
    run: RunImport,
    end: End,
    /// The case read last: the next one may be its tear-down.
    last: Option<Entry>,
}

impl Suite {
    fn new(tag: &Tag, template: &RunHead) -> Suite {
        let mut head = template.clone();
        head.host = tag.get("hostname").unwrap_or_default().to_string();
        if let Some(moment) = tag.get("timestamp").and_then(moment) {
            head.started_at_us = moment;
        }
        let end = End { duration_us: tag.time("time"), ..End::default() };
        Suite { head, run: RunImport::default(), end, last: None }
    }

    fn take(&mut self, case: Case) -> Result<(), ImportError> {
        if case.is_collection_error {
            self.end.collection_errors += 1;
            return Ok(());
        }
        let entry = case.entry;
        // A call and a tear-down that both failed are two cases of one test.
        if let Some(last) = &mut self.last
            && last.node_id == entry.node_id
            && last.outcome == Outcome::Failed
            && entry.outcome == Outcome::Error
        {
            return Ok(());
        }
        match self.last.replace(entry) {
            Some(before) => self.run.push(before),
            None => Ok(()),
        }
    }

    fn end(mut self, store: &mut Store, imported: &mut Imported) -> Result<(), ImportError> {
        if let Some(last) = self.last.take() {
            self.run.push(last)?;
        }
        self.run.finish(store, &self.head, None, Some(&self.end), imported)
    }
}

/// A test case that is read.
struct Case {
    entry: Entry,
    is_collection_error: bool,
    /// Whether text belongs to the failure, error or skip.
    inside: bool,
}

impl Case {
    fn new(tag: &Tag, known: &KnownIds) -> Case {
        let name = tag.get("name").unwrap_or_default();
        let node_id = known.node_id(tag.get("classname").unwrap_or_default(), name, tag.get("file"));
        let duration_us = tag.time("time").unwrap_or_default();
        Case {
            entry: Entry { node_id, outcome: Outcome::Passed, duration_us, ..Entry::default() },
            is_collection_error: false,
            inside: false,
        }
    }

    fn child(&mut self, tag: &Tag) {
        let message = tag.get("message");
        self.inside = true;
        match tag.name.as_str() {
            "failure" => self.entry.outcome = Outcome::Failed,
            // A failed call stays failed when its tear-down fails too.
            "error" if self.entry.outcome != Outcome::Failed => {
                self.is_collection_error = message == Some("collection failure");
                self.entry.outcome = Outcome::Error;
                let phase = match message {
                    Some(text) if text.starts_with("failed on teardown") => Phase::Teardown,
                    _ => Phase::Setup,
                };
                self.entry.phase = Some(phase);
            }
            "skipped" if tag.get("type") == Some("pytest.xfail") => {
                self.entry.outcome = Outcome::Xfailed;
                self.entry.wasxfail = Some(message.unwrap_or_default().to_string());
                return;
            }
            "skipped" => {
                self.entry.outcome = Outcome::Skipped;
                self.entry.message = message.map(str::to_string);
                self.inside = false;
                return;
            }
            _ => {
                self.inside = false;
                return;
            }
        }
        self.entry.message = None;
    }

    fn add(&mut self, text: &str) {
        if self.inside {
            self.entry.message.get_or_insert_default().push_str(text);
        }
    }
}

/// pytest writes an offset since version 8.3; before it wrote local time, which is read as UTC here.
fn moment(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_microsecond());
    }
    let naive = text.parse::<DateTime>().ok()?;
    Some(naive.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}
