//! Owns the order in which tests run: strategies, and which tests stay together
//! while they are moved. Pure: history and the seed are arguments.
//!
//! Every strategy is a rank for each test. Tests that stay together form a
//! block, a block stands where its first member would, and inside it the ranks
//! decide again. Equal ranks keep the order in which the tests were given.

mod block;
pub mod eval;
mod likelihood;
mod rank;
mod why;

use clap::ValueEnum;

use crate::estimate::Estimates;
use crate::unit::{Keep, Subject};
use block::{Blocks, gather};
use likelihood::Likelihoods;
use rank::Rank;
pub use why::Reasons;

/// `--by`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Strategy {
    /// Tests in a failure streak, then flaky ones, then new ones, then the rest, slowest first.
    #[default]
    Risk,
    /// Tests whose newest run failed, then the rest as given.
    FailedFirst,
    /// Tests never seen, then the rest as given.
    NewFirst,
    /// By expected time, longest first.
    Slowest,
    /// By expected time, shortest first.
    Fastest,
    /// What finds a failure soonest: likelihood of failure divided by expected time, highest first.
    ///
    /// Let tests i and j stand side by side, fail with probabilities p and q and take times
    /// s and t. If nothing failed before, the expected time to the first failure is, as far as
    /// the two are concerned, s + (1 - p) t with i first and t + (1 - q) s with j first: i
    /// belongs first where p / s > q / t, and an order in which no neighbours want to change
    /// is the best. The same ratio minimises the weighted sum of completion times (W. E. Smith,
    /// "Various optimizers for single-stage production", Naval Res. Logist. Q. 3, 1956), which
    /// is what APFDc measures. Tests that stay together have the ratio of their sums.
    Feedback,
    /// For parallel runs: what stays together and takes longest first, so that no worker ends late.
    Makespan,
    /// By a hash of seed and node id.
    Random,
    /// As they come.
    Given,
}

impl Strategy {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Risk => "risk",
            Strategy::FailedFirst => "failed-first",
            Strategy::NewFirst => "new-first",
            Strategy::Slowest => "slowest",
            Strategy::Fastest => "fastest",
            Strategy::Feedback => "feedback",
            Strategy::Makespan => "makespan",
            Strategy::Random => "random",
            Strategy::Given => "given",
        }
    }

    /// Whether it does nothing without a history.
    pub fn needs_history(self) -> bool {
        !matches!(self, Strategy::Random | Strategy::Given)
    }
}

/// A test at its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Which subject it is.
    pub subject: usize,
    /// The first member of its block; `None` where it moved alone.
    pub leader: Option<usize>,
}

/// The order of `subjects` under `strategy`, first to run first. `seed` is for
/// [`Strategy::Random`]. `given` moves nothing, groups included.
pub fn arrange(subjects: &[Subject], estimates: &Estimates, strategy: Strategy, keep: Keep, seed: u64) -> Vec<Placed> {
    if strategy == Strategy::Given {
        return as_given(subjects);
    }
    let mut ranks: Vec<Rank> = subjects
        .iter()
        .enumerate()
        .map(|(index, subject)| rank::of(subject, estimates.time_us(index), strategy, seed))
        .collect();
    let blocks = Blocks::of(subjects, &ranks, keep);
    match strategy {
        Strategy::Feedback => rank_by_feedback(&blocks, subjects, &mut ranks, estimates),
        Strategy::Makespan => {
            let times: Vec<f64> = (0..subjects.len()).map(|index| estimates.time_us(index) as f64).collect();
            for (rank, time) in ranks.iter_mut().zip(blocks.sums(&times)) {
                rank.value = -time;
            }
        }
        _ => {}
    }
    let mut ranked: Vec<usize> = (0..subjects.len()).collect();
    ranked.sort_by(|&left, &right| ranks[left].compare(&ranks[right]));
    gather(&blocks, &ranked)
}

/// The order in which `subjects` came.
fn as_given(subjects: &[Subject]) -> Vec<Placed> {
    (0..subjects.len()).map(|subject| Placed { subject, leader: None }).collect()
}

/// Smith's rule for blocks, and inside them for tests: see [`Strategy::Feedback`].
fn rank_by_feedback(blocks: &Blocks, subjects: &[Subject], ranks: &mut [Rank], estimates: &Estimates) {
    let known = Likelihoods::of(subjects);
    let likelihoods: Vec<f64> = subjects.iter().map(|subject| known.of_failure(subject)).collect();
    let times: Vec<f64> = (0..subjects.len()).map(|index| estimates.time_us(index) as f64 + PROTOCOL_US).collect();
    let (block_likelihoods, block_times) = (blocks.sums(&likelihoods), blocks.sums(&times));
    for (index, rank) in ranks.iter_mut().enumerate() {
        rank.value = -block_likelihoods[index] / block_times[index];
        rank.within = -likelihoods[index] / times[index];
    }
}

/// What pytest itself takes for a test at the least, in microseconds: a test without
/// a recorded time is not free. Measured: 10,000 empty tests in 4.5 s.
const PROTOCOL_US: f64 = 450.0;

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
