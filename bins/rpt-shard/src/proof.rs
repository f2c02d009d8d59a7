//! Owns `--check`: reading shards from files and telling what is wrong with them.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rpt::cli::{Fault, one_line, say};
use rpt::exit::Exit;
use rpt::record::{Kind, Shard};
use rpt::shard::check::{self, ShardStream};
use rpt::stream::{self, Input};

/// Proves that `files` hold all shards of one plan. What is wrong is told line by line.
pub(crate) fn check(files: &[PathBuf]) -> Result<Exit> {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let inputs = names.iter().map(|name| read(name)).collect::<Result<Vec<Input>>>()?;
    let streams =
        names.iter().zip(&inputs).map(|(name, input)| shard_stream(name, input)).collect::<Result<Vec<_>>>()?;
    let faults = check::faults(&streams);
    for fault in &faults {
        say(&format!("rpt-shard: {}", one_line(fault)));
    }
    if !faults.is_empty() {
        return Ok(Exit::TestsFailed);
    }
    let tests: usize = streams.iter().map(|stream| stream.ids.len()).sum();
    say(&format!("rpt-shard: {} shards hold {tests} tests, each in one shard, none missing", streams.len()));
    Ok(Exit::Ok)
}

fn read(name: &str) -> Result<Input> {
    let file = File::open(name).map_err(|error| Fault::usage(format!("{name}: {error}")))?;
    stream::read_all(file).with_context(|| name.to_string())
}

fn shard_stream<'a>(name: &'a str, input: &'a Input) -> Result<ShardStream<'a>> {
    let last = input.records.iter().rev().find(|record| record.kind == Kind::Shard);
    let shard = last.map(|record| input.decode::<Shard>(record)).transpose().with_context(|| name.to_string())?;
    let tests = input.records.iter().filter(|record| record.kind.is_test());
    Ok(ShardStream { name, shard, ids: tests.map(|record| &*record.node_id).collect() })
}
