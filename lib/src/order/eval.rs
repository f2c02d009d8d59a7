//! Owns judging the strategies on recorded runs: each run is ordered from what was
//! known before it alone, and scored by how soon its failures come. Pure: the runs
//! are an argument.

use std::collections::HashMap;

use super::{Strategy, arrange};
use crate::estimate::{Estimates, SetUp};
use crate::flaky::{Counts, Statistics};
use crate::outcome::Outcome;
use crate::record::{OrderEval, OrderScore};
use crate::summary::TestSummary;
use crate::unit::{Keep, Subject};

/// Recorded runs, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastRuns {
    /// Node ids; results name them by their place here.
    pub ids: Vec<String>,
    /// The runs.
    pub runs: Vec<PastRun>,
}

/// One recorded run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastRun {
    /// When it began, in microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// The commit it ran on; `None` where the tree held changes or is not known.
    pub commit: Option<String>,
    /// Its results in the order in which its tests were given.
    pub results: Vec<PastResult>,
}

/// One recorded result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastResult {
    /// Place of the test's id in [`PastRuns::ids`].
    pub test: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// In microseconds.
    pub duration_us: u64,
}

/// The strategies that are compared. `random` stands for its first seed.
const COMPARED: [Strategy; 9] = [
    Strategy::Feedback,
    Strategy::Risk,
    Strategy::FailedFirst,
    Strategy::NewFirst,
    Strategy::Fastest,
    Strategy::Slowest,
    Strategy::Makespan,
    Strategy::Random,
    Strategy::Given,
];

/// Scores every strategy on `past`, its means over the runs that have a failure and
/// something known before them. A failure is flaky, and left out, where its test
/// passed on the same commit too: no order could have found a fault there.
pub fn evaluate(past: &PastRuns, keep: Keep) -> OrderEval {
    let flaky = Flaky::of(past);
    let mut known: HashMap<usize, Statistics> = HashMap::new();
    let mut sums = vec![Score::default(); COMPARED.len() + 1];
    let (mut judged, mut flaky_failures) = (0, 0);
    for run in &past.runs {
        let faulty: Vec<bool> = run.results.iter().map(|result| result.outcome.is_failure()).collect();
        let real: Vec<bool> =
            run.results.iter().zip(&faulty).map(|(result, failed)| *failed && !flaky.is(run, result.test)).collect();
        flaky_failures += faulty.iter().filter(|failed| **failed).count() - real.iter().filter(|real| **real).count();
        if real.contains(&true) && !known.is_empty() {
            judged += 1;
            for (sum, score) in sums.iter_mut().zip(scores(past, run, &real, &known, keep)) {
                sum.add(score);
            }
        }
        for result in &run.results {
            let duration = i64::try_from(result.duration_us).unwrap_or(i64::MAX);
            known.entry(result.test).or_default().push(result.outcome, duration, run.started_at_us);
        }
    }
    let names = COMPARED.iter().map(|strategy| strategy.name()).chain(["ideal"]);
    OrderEval {
        runs: past.runs.len() as u64,
        judged_runs: judged,
        flaky_failures: flaky_failures as u64,
        keep: keep.name().to_string(),
        scores: names.zip(&sums).map(|(name, sum)| sum.mean(name, judged)).collect(),
    }
}

/// The scores of one run: of every compared strategy, then of the ideal.
fn scores(past: &PastRuns, run: &PastRun, real: &[bool], known: &HashMap<usize, Statistics>, keep: Keep) -> Vec<Score> {
    let summary = |result: &PastResult| -> Option<TestSummary> {
        known.get(&result.test).map(|statistics| statistics.summary(past.ids[result.test].clone()))
    };
    let summaries: Vec<Option<TestSummary>> = run.results.iter().map(summary).collect();
    let subject =
        |(result, summary): (&PastResult, _)| Subject { node_id: &past.ids[result.test], group: None, summary };
    let subjects: Vec<Subject> = run.results.iter().zip(summaries.iter().map(Option::as_ref)).map(subject).collect();
    let estimates = Estimates::of(&subjects, SetUp::default());
    let times: Vec<u64> = run.results.iter().map(|result| result.duration_us).collect();
    let mut scores: Vec<Score> = COMPARED
        .iter()
        .map(|&strategy| {
            let placed = arrange(&subjects, &estimates, strategy, keep, 0);
            Score::of(placed.into_iter().map(|placed| placed.subject), real, &times)
        })
        .collect();
    let mut ideal: Vec<usize> = (0..times.len()).collect();
    ideal.sort_by_key(|&test| (!real[test], times[test]));
    scores.push(Score::of(ideal.into_iter(), real, &times));
    scores
}

/// Tests that passed and failed on one commit.
struct Flaky<'a>(HashMap<(&'a str, usize), (bool, bool)>);

impl<'a> Flaky<'a> {
    fn of(past: &'a PastRuns) -> Flaky<'a> {
        let mut seen: HashMap<(&str, usize), (bool, bool)> = HashMap::new();
        for run in &past.runs {
            let Some(commit) = &run.commit else { continue };
            for result in &run.results {
                let (passed, failed) = seen.entry((commit, result.test)).or_default();
                *passed |= Counts::of(result.outcome) == Some(Counts::Pass);
                *failed |= Counts::of(result.outcome) == Some(Counts::Fail);
            }
        }
        seen.retain(|_, (passed, failed)| *passed && *failed);
        Flaky(seen)
    }

    fn is(&self, run: &PastRun, test: usize) -> bool {
        run.commit.as_deref().is_some_and(|commit| self.0.contains_key(&(commit, test)))
    }
}

/// How soon the failures of a run come.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Score {
    apfd: f64,
    apfd_many_to_one: f64,
    apfdc: f64,
    apfdc_many_to_one: f64,
    first_failure_us: f64,
}

impl Score {
    /// APFD = 1 - (TF1 + ... + TFm) / (n m) + 1 / (2 n), with n tests, m faults and TFi
    /// the place of the first test that shows fault i (G. Rothermel et al., "Prioritizing
    /// test cases for regression testing", IEEE TSE 27(10), 2001). APFDc = sum over the
    /// faults of (the time from the begin of test TFi to the end of the run, less half of
    /// that test's own), divided by m times the whole time, all faults as severe as one
    /// another (S. Elbaum et al., "Incorporating varying test costs and fault severities
    /// into test case prioritization", ICSE 2001).
    ///
    /// One-to-one takes each failed test for a fault of its own, many-to-one all of a run
    /// for one fault (T. Mattis et al., "RTPTorrent", MSR 2020).
    fn of(order: impl Iterator<Item = usize>, real: &[bool], times: &[u64]) -> Score {
        let tests = times.len() as f64;
        let whole = times.iter().sum::<u64>() as f64;
        let (mut begun, mut faults, mut places, mut costs) = (0.0, 0.0, 0.0, 0.0);
        let mut first: Option<(f64, f64, f64)> = None;
        for (place, test) in order.enumerate() {
            let time = times[test] as f64;
            if real[test] {
                let (place, cost) = (place as f64 + 1.0, whole - begun - time / 2.0);
                faults += 1.0;
                places += place;
                costs += cost;
                first.get_or_insert((place, cost, begun + time));
            }
            begun += time;
        }
        let (first_place, first_cost, first_failure_us) = first.unwrap_or_default();
        let apfd = |places: f64, faults: f64| 1.0 - places / (tests * faults) + 1.0 / (2.0 * tests);
        // A run that took no time at all found everything at once.
        let apfdc = |costs: f64, faults: f64| if whole > 0.0 { costs / (whole * faults) } else { 1.0 };
        Score {
            apfd: apfd(places, faults),
            apfd_many_to_one: apfd(first_place, 1.0),
            apfdc: apfdc(costs, faults),
            apfdc_many_to_one: apfdc(first_cost, 1.0),
            first_failure_us,
        }
    }

    fn add(&mut self, other: Score) {
        self.apfd += other.apfd;
        self.apfd_many_to_one += other.apfd_many_to_one;
        self.apfdc += other.apfdc;
        self.apfdc_many_to_one += other.apfdc_many_to_one;
        self.first_failure_us += other.first_failure_us;
    }

    fn mean(&self, strategy: &str, runs: u64) -> OrderScore {
        let mean = |sum: f64, digits: f64| if runs == 0 { 0.0 } else { (sum / runs as f64 * digits).round() / digits };
        OrderScore {
            strategy: strategy.to_string(),
            apfd: mean(self.apfd, 1e6),
            apfd_many_to_one: mean(self.apfd_many_to_one, 1e6),
            apfdc: mean(self.apfdc, 1e6),
            apfdc_many_to_one: mean(self.apfdc_many_to_one, 1e6),
            first_failure_ms: mean(self.first_failure_us / 1000.0, 1e3),
        }
    }
}

/// The view for people.
pub fn text(eval: &OrderEval) -> String {
    let OrderEval { runs, judged_runs, flaky_failures, keep, scores } = eval;
    let mut text = format!(
        "{judged_runs} of {runs} runs have failures to find; {flaky_failures} flaky failures (their tests passed on \
         the same commit) are left out; --keep {keep}\n\
         {:<14} {:>9} {:>9} {:>9} {:>9} {:>14}\n",
        "", "APFD 1:1", "APFD n:1", "APFDc 1:1", "APFDc n:1", "first failure"
    );
    for score in scores {
        let seconds = score.first_failure_ms / 1000.0;
        text.push_str(&format!(
            "{:<14} {:>9.4} {:>9.4} {:>9.4} {:>9.4} {seconds:>12.3} s\n",
            score.strategy, score.apfd, score.apfd_many_to_one, score.apfdc, score.apfdc_many_to_one
        ));
    }
    text
}

#[cfg(test)]
#[path = "eval_tests.rs"]
mod tests;
