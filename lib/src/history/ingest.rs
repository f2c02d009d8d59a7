//! Owns recording a stream of results that comes from a pipe.

use std::io::{Read, Write};

use serde::Deserialize;
use thiserror::Error;

use super::head::now_us;
use super::{Finished, Kept, Recorder, RunHead};
use crate::record::{Collection, Kind, RunComplete, Shard, TestResult};
use crate::stream::{Form, Reader, StreamError, decode};

/// What became of a stream.
#[derive(Debug, Default)]
pub struct Ingested {
    /// The runs of the stream.
    pub runs: Vec<IngestedRun>,
    /// The fault at which reading stopped; what came before it is recorded.
    pub fault: Option<IngestError>,
}

/// What became of one run of a stream.
#[derive(Debug)]
pub struct IngestedRun {
    /// Whether its `run_complete` was there.
    pub complete: bool,
    /// How many results it had.
    pub results: u64,
    /// What the recorder says.
    pub finished: Finished,
}

/// Why a stream could not be read to its end.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The records are not what they should be, or cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The stream is a list of ids.
    #[error("the input is a list of plain node ids; results are needed: rpt-run's output")]
    PlainIds,
}

/// Records every run of the stream `source` in `store`. `head` is what is known of the runs
/// beforehand; the stream's own collection, shard and start times are taken where they are
/// there. A run without `run_complete` is recorded as interrupted.
pub fn record_stream(source: impl Read, store: &Kept, head: &RunHead) -> Ingested {
    let mut ingested = Ingested::default();
    let mut current = Current::new(store, head);
    let mut reader = Reader::new(source);
    let fault = loop {
        match next(&mut reader) {
            Ok(None) => break None,
            Ok(Some(Incoming::RunComplete(totals))) => ingested.runs.push(current.complete(&totals)),
            Ok(Some(incoming)) => current.take(incoming),
            Err(error) => break Some(error),
        }
    };
    ingested.runs.extend(current.interrupt());
    ingested.fault = fault;
    ingested
}

enum Incoming {
    Collection(Collection),
    Shard(Shard),
    Result(Box<TestResult>),
    RunComplete(RunComplete),
    Other,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: Kind,
}

fn next(reader: &mut Reader<impl Read>) -> Result<Option<Incoming>, IngestError> {
    let number = reader.number() + 1;
    let Some(bytes) = reader.next_record()?.map(<[u8]>::to_vec) else {
        return Ok(None);
    };
    let form = reader.form().unwrap_or(Form::Ids);
    if form == Form::Ids {
        return Err(IngestError::PlainIds);
    }
    Ok(Some(match decode::<Envelope>(form, &bytes, number)?.kind {
        Kind::Collection => Incoming::Collection(decode(form, &bytes, number)?),
        Kind::Shard => Incoming::Shard(decode(form, &bytes, number)?),
        Kind::Result => Incoming::Result(Box::new(decode(form, &bytes, number)?)),
        Kind::RunComplete => Incoming::RunComplete(decode(form, &bytes, number)?),
        Kind::Test | Kind::CollectError | Kind::Started | Kind::Other => Incoming::Other,
    }))
}

/// The run that is being read.
struct Current<'a> {
    store: &'a Kept,
    template: &'a RunHead,
    head: RunHead,
    recorder: Option<Recorder>,
    results: u64,
}

impl<'a> Current<'a> {
    fn new(store: &'a Kept, template: &'a RunHead) -> Current<'a> {
        Current { store, template, head: template.clone(), recorder: None, results: 0 }
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Collection(collection) => {
                self.head.args = collection.pytest_args;
                self.head.rootdir = collection.rootdir;
            }
            Incoming::Shard(shard) => self.head.shard = Some(shard),
            Incoming::Result(result) => {
                let head = &mut self.head;
                let recorder = self.recorder.get_or_insert_with(|| {
                    // The first to end is among the first that began.
                    head.started_at_us =
                        result.started_at.map_or_else(now_us, |seconds| (seconds * 1e6).round() as i64);
                    Recorder::start_again(self.store.clone(), head.clone())
                });
                recorder.push(&result);
                self.results += 1;
            }
            Incoming::RunComplete(_) | Incoming::Other => {}
        }
    }

    fn complete(&mut self, totals: &RunComplete) -> IngestedRun {
        let run = std::mem::replace(self, Current::new(self.store, self.template));
        let recorder = run.recorder.unwrap_or_else(|| Recorder::start(self.store.clone(), run.head));
        IngestedRun { complete: true, results: run.results, finished: recorder.finish(totals) }
    }

    fn interrupt(self) -> Option<IngestedRun> {
        let finished = self.recorder?.interrupt();
        Some(IngestedRun { complete: false, results: self.results, finished })
    }
}

/// Passes on to `sink` every byte that is read from `source`, as soon as it was read.
pub struct Tee<R, W> {
    /// Where bytes come from.
    pub source: R,
    /// Where they go too.
    pub sink: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.sink.write_all(&buffer[..count])?;
        self.sink.flush()?;
        Ok(count)
    }
}
