//! Owns `--eval`: reading recorded runs and writing the strategies' scores.

use std::io::Write;

use anyhow::Result;
use rpt::cli::{Fault, Format};
use rpt::exit::Exit;
use rpt::history::Store;
use rpt::order::eval;
use rpt::project;
use rpt::record::Record;
use rpt::stream::{Form, OutputForm, StreamError, Writer};

use crate::args::Args;

/// Scores the strategies on the project's history.
pub(crate) fn evaluate(args: &Args) -> Result<Exit> {
    let store = project::find_history(args.history.clone(), None, &std::env::current_dir()?);
    let store = store.ok_or_else(|| Fault::usage("no history found: nothing to replay"))?;
    let past = Store::open_to_read(&store)?.past_runs()?;
    let scores = eval::evaluate(&past, args.keep);
    let mut stdout = std::io::stdout().lock();
    match Format::resolve(args.format, Form::Json)? {
        OutputForm::Text => stdout.write_all(eval::text(&scores).as_bytes()).map_err(StreamError::Write)?,
        OutputForm::Records(Form::Ids) => {
            return Err(Fault::usage("--eval has no plain ids: use --format json or text").into());
        }
        OutputForm::Records(form) => {
            let mut out = Writer::new(stdout, form);
            out.write(&Record::OrderEval(scores))?;
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}
