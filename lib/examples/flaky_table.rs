//! Prints how good three rules for flaky tests are on simulated histories with a known truth:
//! `cargo run --release --example flaky_table`.

#![expect(clippy::print_stdout, reason = "it prints a table for people")]

use rpt::flaky::simulator::{Project, Simulated, score, simple_rule, two_flips_in_twenty, verdict_rule};

fn main() {
    println!("| runs | rule | precision | recall (fails 5 % or more) | recall (fails 5 %) |");
    println!("|---|---|---|---|---|");
    for runs in [20, 60, 200] {
        for (name, rule) in [
            ("a pass and a failure", simple_rule as fn(&Project, &Simulated) -> bool),
            ("2 flips in the last 20", two_flips_in_twenty),
            ("rpt's verdict", verdict_rule),
        ] {
            let score = score(1, 100, runs, rule);
            println!("| {runs} | {name} | {:.3} | {:.3} | {:.3} |", score.precision, score.recall, score.recall_at_5);
        }
    }
}
