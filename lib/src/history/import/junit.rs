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
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::junit::address::KnownIds;
use crate::outcome::{Outcome, Phase};
use crate::record::Attempt;
use crate::rounded_ms;

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
                            case.inside = Inside::Nothing;
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
            Event::PI(instruction) => {
                let text = std::str::from_utf8(instruction).map_err(|error| malformed(error.to_string()))?;
                if let (Some(case), Some(own)) = (&mut case, text.strip_prefix("rpt ")) {
                    case.aside(&Tag::new(&BytesStart::from_content(format!("rpt {own}"), 3)).map_err(malformed)?);
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
        let entry = case.complete();
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

/// To what the text that comes next belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// To nothing that is kept.
    Nothing,
    /// To the newest failure, error or skip.
    Told,
    /// To the newest of the earlier attempts.
    Attempt,
}

/// A failure, an error or a skip.
#[derive(Debug)]
struct Told {
    outcome: Outcome,
    phase: Option<Phase>,
    message: Option<String>,
    cause: Option<String>,
    wasxfail: Option<String>,
}

/// A test case that is read.
struct Case {
    entry: Entry,
    is_collection_error: bool,
    inside: Inside,
    told: Vec<Told>,
    /// What rpt says of the outcome.
    outcome: Option<Outcome>,
    /// What `junit::case` writes of attempts before the last.
    earlier: Vec<Attempt>,
}

impl Case {
    fn new(tag: &Tag, known: &KnownIds) -> Case {
        let name = tag.get("name").unwrap_or_default();
        let node_id = known.node_id(tag.get("classname").unwrap_or_default(), name, tag.get("file"));
        let duration_us = tag.time("time").unwrap_or_default();
        Case {
            entry: Entry { node_id, outcome: Outcome::Passed, duration_us, ..Entry::default() },
            is_collection_error: false,
            inside: Inside::Nothing,
            told: Vec::new(),
            outcome: None,
            earlier: Vec::new(),
        }
    }

    /// What rpt wrote for itself.
    fn aside(&mut self, tag: &Tag) {
        if let Some(node_id) = tag.get("node_id") {
            self.entry.node_id = node_id.to_string();
        }
        self.outcome = tag.get("outcome").and_then(Outcome::from_name);
        self.entry.wasxfail = tag.get("wasxfail").map(str::to_string);
    }

    fn child(&mut self, tag: &Tag) {
        let said = tag.get("message").map(str::to_string);
        let kind = tag.get("type").unwrap_or_default();
        self.inside = Inside::Told;
        let mut told = Told { outcome: Outcome::Failed, phase: None, message: None, cause: None, wasxfail: None };
        match tag.name.as_str() {
            "error" if kind == "rpt.not_run" => {
                told.outcome = Outcome::NotRun;
                told.cause = said;
                self.inside = Inside::Nothing;
            }
            "failure" | "error" if kind == "rpt.cause" => {
                told.cause = said;
                told.outcome = if tag.name == "error" { Outcome::Error } else { Outcome::Failed };
            }
            "failure" => {}
            "error" => {
                let said = said.unwrap_or_default();
                self.is_collection_error |= said == "collection failure";
                told.outcome = Outcome::Error;
                let torn_down = said.starts_with("failed on teardown");
                told.phase = Some(if torn_down { Phase::Teardown } else { Phase::Setup });
            }
            "skipped" if kind == "pytest.xfail" => {
                told.outcome = Outcome::Xfailed;
                told.wasxfail = Some(said.unwrap_or_default());
            }
            "skipped" => {
                told.outcome = Outcome::Skipped;
                told.message = said;
                self.inside = Inside::Nothing;
            }
            "flakyFailure" | "flakyError" | "rerunFailure" | "rerunError" => return self.attempt(tag),
            "stackTrace" if !self.earlier.is_empty() => {
                self.inside = Inside::Attempt;
                return;
            }
            _ => {
                self.inside = Inside::Nothing;
                return;
            }
        }
        self.told.push(told);
    }

    fn attempt(&mut self, tag: &Tag) {
        let error = tag.name.ends_with("Error");
        let kind = tag.get("type").unwrap_or_default();
        self.earlier.push(Attempt {
            attempt: self.earlier.len() as u32 + 1,
            when: Phase::from_name(kind).unwrap_or(if error { Phase::Setup } else { Phase::Call }),
            outcome: if error { Outcome::Error } else { Outcome::Failed },
            cause: tag.get("message").filter(|_| kind == "rpt.cause").map(str::to_string),
            ..Attempt::default()
        });
        // Where there is no stackTrace, the text stands in the element itself.
        self.inside = Inside::Attempt;
    }

    fn add(&mut self, text: &str) {
        let message = match self.inside {
            Inside::Nothing => None,
            Inside::Told => self.told.last_mut().map(|told| &mut told.message),
            Inside::Attempt => self.earlier.last_mut().map(|attempt| &mut attempt.message),
        };
        if let Some(message) = message {
            message.get_or_insert_default().push_str(text);
        }
    }

    /// What decides: as rpt said; else a failed call, which stays failed when its tear-down
    /// fails too, then an error, then a skip.
    fn complete(self) -> Entry {
        let Case { mut entry, told, outcome, earlier: mut parts, .. } = self;
        let first = |outcome: Outcome| told.iter().position(|told| told.outcome == outcome);
        let decides = match outcome {
            Some(outcome) => first(outcome),
            None => first(Outcome::Failed).or_else(|| first(Outcome::Error)).or((!told.is_empty()).then_some(0)),
        };
        if let Some(told) = decides.and_then(|at| told.into_iter().nth(at)) {
            let Told { outcome, phase, message, cause, wasxfail } = told;
            entry = Entry { outcome, phase, message, cause, wasxfail, ..entry };
        }
        entry.outcome = outcome.unwrap_or(entry.outcome);
        if let Some(before) = parts.last() {
            parts.push(Attempt {
                attempt: before.attempt + 1,
                when: entry.phase.unwrap_or(Phase::Call),
                outcome: entry.outcome,
                duration_ms: rounded_ms(entry.duration_us as f64 / 1000.0),
                message: entry.message.clone(),
                cause: entry.cause.clone(),
                ..Attempt::default()
            });
            entry.attempts = serde_json::to_string(&parts).ok();
        }
        entry
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
