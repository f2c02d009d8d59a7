//! --help of every program and subcommand, as somebody reads it who has never seen it: what is
//! read and written, examples that work as they stand, exit codes; on 80 columns.

use std::sync::LazyLock;

use crate::postgres;
use crate::project::Project;

const PROGRAMS: [&str; 6] = ["rpt-collect", "rpt-order", "rpt-shard", "rpt-run", "rpt-history", "rpt-serve"];

/// `--help` as it looks on a terminal of 80 columns.
fn help(project: &Project, words: &[&str]) -> String {
    let output = project.command(words[0]).args(&words[1..]).arg("--help").env("COLUMNS", "80").run();
    output.assert_code(0);
    output.text()
}

/// The subcommands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_string()).filter(|name| name != "help").collect()
}

/// A program or subcommand and all below it, each with its help.
fn tree(project: &Project, words: &[&str]) -> Vec<(Vec<String>, String)> {
    let text = help(project, words);
    let below = subcommands(&text);
    let mut all = vec![(words.iter().map(|word| word.to_string()).collect(), text)];
    for name in &below {
        all.extend(tree(project, &[words, &[name]].concat()));
    }
    all
}

/// The example commands of a help; a backslash joins lines.
fn examples(help: &str) -> Vec<String> {
    let part = ["\nExamples:\n", "\nExample:\n"].iter().find_map(|title| help.split_once(title));
    let text = part.map_or("", |(_, rest)| rest.split("\n\n").next().unwrap()).replace("\\\n", " ");
    text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_string).collect()
}

#[test]
fn it_says_what_is_read_and_written_with_examples_and_exit_codes() {
    let project = Project::empty();
    let all: Vec<_> = PROGRAMS.into_iter().flat_map(|program| tree(&project, &[program])).collect();
    assert!(all.len() > 20, "{}", all.len());
    for (words, text) in all {
        let name = words.join(" ");
        // The line of the usage is never broken.
        let lines = text.lines().filter(|line| !line.starts_with("Usage: "));
        let too_long: Vec<&str> = lines.filter(|line| line.chars().count() > 80).collect();
        assert!(too_long.is_empty(), "{name}: {too_long:#?}");
        let lower = text.to_lowercase();
        let says = ["reads", "writes"].map(|word| lower.contains(word));
        assert!(if words.len() == 1 { says == [true; 2] } else { says != [false; 2] }, "{name}: {text}");
        let examples = examples(&text);
        if words.len() == 1 {
            assert!(examples.len() >= 3, "{name}: {examples:#?}");
            assert!(text.contains("\nExit codes:\n  0  ") && text.contains("\n  4  "), "{name}: {text}");
            assert!(text.contains("--generate <KIND>"), "{name}: {text}");
        }
        assert!(examples.iter().any(|example| example.contains(&name)), "{name}: {examples:#?}");
    }
}

/// The project of which the examples speak.
fn project() -> Project {
    let project = Project::empty()
        .file("tests/test_api.py", "import pytest\ndef test_get(): pass\n@pytest.mark.slow\n@pytest.mark.parametrize('name', ['ann'])\ndef test_login(name): pass\n")
        .file("tests/api/test_users.py", "def test_list(): pass\n");
    project.write("pytest.ini", "[pytest]\nmarkers = slow\n");
    project
}

/// Tools that are no part of rpt stand aside: jq passes on what it reads, ssh runs its words here.
const BEFORE: &str = "set -e
jq() { cat \"${3:-/dev/stdin}\"; }
ssh() { shift; \"$@\"; }
pytest() { python -m pytest \"$@\"; }
";

/// A recorded run of a commit, and the shards of another.
const RUN: &str = "git init -q -b main .
git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first
rpt-collect | rpt-run > results.jsonl
for index in 0 1; do rpt-collect | rpt-shard --by hash --index $index --total 2 > shard-$index.jsonl; done
";

/// A second run, its shards' results and stores, and a copy of the history.
const MORE_RUNS: &str = "for index in 0 1; do mkdir shard-$index
    rpt-run --history shard-$index/history.db > shard-$index.run < shard-$index.jsonl; done
rpt-history record shard-*.run; cp .rpt/history.db backup.db
rpt-run . --queue postgres://db.example/team --plan nightly
";

fn run_examples(program: &str) {
    let project = project();
    let more = if program == "rpt-history" { MORE_RUNS } else { "" };
    let more = more.replace("postgres://db.example/team", if more.is_empty() { "" } else { &TEAM });
    project.shell(&format!("{BEFORE}{RUN}{more}")).run().assert_code(0);
    let mut ran = 0;
    for (words, text) in tree(&project, &[program]) {
        for example in examples(&text) {
            let line = in_this_project(&project, &words, &example);
            let bin = crate::project::python().parent().unwrap().display().to_string();
            let output = project.shell(&format!("PATH={bin}:$PATH\n{BEFORE}{line}")).run();
            assert!([0, 1, 5].contains(&output.code()), "{example}: {output:#?}");
            assert!(!output.stderr().contains("--help)"), "{example}: {output:#?}");
            ran += 1;
        }
    }
    assert!(ran >= 3, "{ran}");
    project.assert_no_process_left();
}

/// The database that examples call postgres://db.example/team.
static TEAM: LazyLock<String> = LazyLock::new(postgres::database);

/// The example with what only this project knows: ids of its runs, a day that has not passed, the
/// streams that `merge` and `record` mean. No debugger waits for somebody.
fn in_this_project(project: &Project, words: &[String], example: &str) -> String {
    let digits = |run: usize| {
        let runs = project.command("rpt-history").arg("runs").run().records();
        runs[run]["run_id"].as_str().unwrap().trim_start_matches("sha256:")[..12].to_string()
    };
    let results =
        if ["merge", "record"].contains(&words.last().unwrap().as_str()) { "shard-*.run" } else { "shard-*.jsonl" };
    let mut line = example
        .replace("2027-01-31", "2999-01-31")
        // What a test that fails leaves running ends soon.
        .replace("--idle-timeout 3600", "--idle-timeout 30")
        .replace("shard-*.jsonl", results)
        .replace(" --pdb", "");
    for shown in ["postgres://keeper@db.example/team", "postgres://db.example/team"] {
        if line.contains(shown) {
            line = line.replace(shown, &TEAM);
        }
    }
    for (run, shown) in ["81d2", "3f9a0c"].into_iter().enumerate() {
        if line.contains(shown) {
            line = line.replace(shown, &digits(run));
        }
    }
    line
}

#[test]
fn examples_of_rpt_collect_work() {
    run_examples("rpt-collect");
}

#[test]
fn examples_of_rpt_order_work() {
    run_examples("rpt-order");
}

#[test]
fn examples_of_rpt_shard_work() {
    run_examples("rpt-shard");
}

#[test]
fn examples_of_rpt_run_work() {
    run_examples("rpt-run");
}

#[test]
fn examples_of_rpt_history_work() {
    run_examples("rpt-history");
}

#[test]
fn examples_of_rpt_serve_work() {
    run_examples("rpt-serve");
}
