//! Owns importing rpt's own stream. A `run` record, as export writes it, is the head of the
//! results that follow; without one the head is what collection, shard and results tell.

use std::io::Read;

use serde::Deserialize;

use super::super::RunHead;
use super::super::append::{End, Entry};
use super::super::rows::{RunRow, RunState};
use super::super::store::Store;
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::record::{Collection, Kind, RunComplete, Shard, TestResult};
use crate::stream::{Form, Reader, decode};

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    name: String,
}

pub(super) fn import(
    store: &mut Store,
    source: impl Read,
    template: &RunHead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let mut reader = Reader::new(source);
    let mut next = Next { template, head: template.clone(), told: None, run: None };
    while let Some(bytes) = reader.next_record()?.map(<[u8]>::to_vec) {
        let (form, number) = (reader.form().unwrap_or(Form::Ids), reader.number());
        if form == Form::Ids {
            return Err(ImportError::Malformed("a list of plain node ids holds no results".to_string()));
        }
        let name = decode::<Envelope>(form, &bytes, number)?.name;
        match Kind::of(&name) {
            Kind::Collection => {
                let collection: Collection = decode(form, &bytes, number)?;
                (next.head.args, next.head.rootdir) = (collection.pytest_args, collection.rootdir);
            }
            Kind::Shard => next.head.shard = Some(decode::<Shard>(form, &bytes, number)?),
            Kind::Result => next.push(&decode(form, &bytes, number)?)?,
            Kind::RunComplete => next.complete(store, &decode(form, &bytes, number)?, imported)?,
            _ if name == "run" => {
                next.cut_off(store, imported)?;
                let row: RunRow = decode(form, &bytes, number)?;
                next.head =
                    row.head().map_err(|reason| ImportError::Malformed(format!("record {number}: {reason}")))?;
                next.told = Some(row);
            }
            _ => {}
        }
    }
    next.cut_off(store, imported)
}

/// The run that comes in.
struct Next<'a> {
    template: &'a RunHead,
    head: RunHead,
    /// Its `run` record.
    told: Option<RunRow>,
    run: Option<RunImport>,
}

impl Next<'_> {
    fn push(&mut self, result: &TestResult) -> Result<(), ImportError> {
        if let (None, None, Some(seconds)) = (&self.run, &self.told, result.started_at) {
            self.head.started_at_us = (seconds * 1e6).round() as i64;
        }
        self.run.get_or_insert_default().push(Entry::of(result))
    }

    fn complete(
        &mut self,
        store: &mut Store,
        totals: &RunComplete,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let run = self.run.take().unwrap_or_default();
        let mut end = End::of(totals);
        if let Some(row) = self.told.take() {
            // What a run_complete must have and this run never had: unknown, not 0.
            (end.duration_us, end.exit_code) = (row.duration_us(), row.exit_code);
        }
        let run_id = Some(totals.run_id.clone()).filter(|id| !id.is_empty());
        run.finish(store, &self.take_head(), run_id, Some(&end), imported)
    }

    /// Ends a run whose end is not there.
    fn cut_off(&mut self, store: &mut Store, imported: &mut Imported) -> Result<(), ImportError> {
        let told = self.told.take();
        let run = match (self.run.take(), &told) {
            (Some(run), _) => run,
            (None, Some(_)) => RunImport::default(),
            (None, None) => return Ok(()),
        };
        // A complete run that lost its end on the way is another run than the one its id names.
        let run_id = told.filter(|row| row.state == RunState::Interrupted).and_then(|row| row.run_id);
        run.finish(store, &self.take_head(), run_id, None, imported)
    }

    /// The head of the run that ends; the next one begins anew.
    fn take_head(&mut self) -> RunHead {
        std::mem::replace(&mut self.head, self.template.clone())
    }
}
