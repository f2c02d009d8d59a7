//! Owns writing one shard's stream, and a plan's figures.

use std::io::Write;

use anyhow::Result;
use rpt::cli::{Fault, one_line};
use rpt::record::{Kind, Record, Shard, ShardInfo};
use rpt::stream::{Form, Input, OutputForm, StreamError, Writer};

/// Writes the records of `input` that are in the shard, then `shard` itself.
/// `is_member` is asked for each test, by its place among the tests.
pub(crate) fn write_shard(
    input: &Input,
    form: OutputForm,
    shard: Shard,
    is_member: impl Fn(usize) -> bool,
) -> Result<()> {
    let stdout = std::io::stdout().lock();
    let mut tests = 0..;
    let mut in_shard = |kind: Kind| !kind.is_test() || tests.next().is_some_and(&is_member);
    match form {
        OutputForm::Records(form) => {
            let mut out = Writer::new(stdout, form);
            for record in input.records.iter().filter(|record| in_shard(record.kind)) {
                out.forward(input, record)?;
            }
            out.write(&Record::Shard(shard))?;
            out.flush()?;
        }
        OutputForm::Text => {
            let mut out = std::io::BufWriter::new(stdout);
            for record in input.records.iter().filter(|record| in_shard(record.kind)) {
                if record.kind.is_test() {
                    writeln!(out, "{}", one_line(&record.node_id)).map_err(StreamError::Write)?;
                }
            }
            let Shard { shard_index, total_shards, strategy, test_count, expected_ms, .. } = shard;
            let time = expected_ms / 1000.0;
            writeln!(
                out,
                "shard {shard_index} of {total_shards} by {strategy}: {test_count} tests, {time:.2} s expected"
            )
            .and_then(|()| out.flush())
            .map_err(StreamError::Write)?;
        }
    }
    Ok(())
}

/// Writes a plan's figures.
pub(crate) fn write_info(info: ShardInfo, form: OutputForm) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match form {
        OutputForm::Records(Form::Ids) => {
            Err(Fault::usage("--info has no plain ids: use --format json or text").into())
        }
        OutputForm::Records(form) => {
            let mut out = Writer::new(stdout, form);
            out.write(&Record::ShardInfo(info))?;
            Ok(out.flush()?)
        }
        OutputForm::Text => {
            Ok(stdout.write_all(rpt::shard::info_text(&info).as_bytes()).map_err(StreamError::Write)?)
        }
    }
}

/// Writes one line for a script.
pub(crate) fn write_line(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}").map_err(StreamError::Write)?)
}
