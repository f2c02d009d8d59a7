//! Owns the verdict on one test: how likely it is that it is flaky, and the evidence. Pure.
//!
//! Two explanations of the results compete, as two hidden Markov models (L. Rabiner, Proc.
//! IEEE 77, 1989), filtered forward over the results, oldest first:
//!
//! - **deterministic**: the code is good or broken. It breaks or is repaired only when the
//!   code changes; good code passes and broken code fails, but for a freak in [`FREAK`].
//! - **flaky**: the same, but good code also fails at a rate of its own. The rate has
//!   Jeffreys' prior Beta(½, ½); after f failures in n results of good code the next one
//!   fails with probability (f + ½) / (n + 1) (Beta-Binomial; H. Jeffreys, Theory of
//!   Probability, 3rd ed. 1961, § 3.1), f and n counted by the filter's own belief.
//!
//! What a model's predictions were worth is the sum of the logarithms of the probabilities it
//! gave to what then happened (A. P. Dawid, J. R. Statist. Soc. A 147, 1984). Old predictions
//! fade with [`HALF_LIFE`]: their logarithm is multiplied by a weight (power prior; J. Ibrahim
//! and M.-H. Chen, Statist. Sci. 15, 2000). The difference is the log Bayes factor, and with
//! [`PRIOR`] it gives the probability that the test is flaky.
//!
//! So a pass and a failure of one commit with a clean tree, or a pass on a retry within a run,
//! decide nearly alone: only a freak explains them otherwise. A failure that comes with one
//! commit and goes with another is explained as well by a regression and its repair, and
//! counts little. Each branch is good or broken for itself. Skips say nothing; runs that were
//! an outage are left out beforehand.

use std::collections::HashMap;

use serde::Serialize;

use super::beta;

/// After so many results of a test evidence counts half.
pub const HALF_LIFE: f64 = 100.0;

/// The share of tests that are flaky before anything is known of one: 16 % of Google's tests
/// (J. Micco, "Flaky Tests at Google and How We Mitigate Them", 2016).
pub const PRIOR: f64 = 0.16;

/// The chance that something outside code and test turns one result around.
pub const FREAK: f64 = 1e-5;

/// The chance that a change of the code breaks a given test.
pub const BREAK: f64 = 0.003;

/// The chance that a change of the code repairs a broken test.
pub const REPAIR: f64 = 0.3;

/// The chance that a test is broken where a branch is first seen.
pub const BROKEN_AT_FIRST: f64 = 0.02;

/// From this probability on a test is called flaky.
pub const FLAKY: f64 = 0.9;

/// From this probability on, below [`FLAKY`], a test is suspect.
pub const SUSPECT: f64 = 0.5;

/// Before so many results a test is new.
pub const NEW: usize = 5;

/// A test that was repaired within so many results is called fixed.
pub const FIXED_WITHIN: usize = 20;

/// A run is an outage when more than this share of its passes and failures are failures ...
pub const OUTAGE_SHARE: f64 = 0.5;

/// ... and there are at least so many of them.
pub const OUTAGE_RESULTS: i64 = 10;

/// Whether a run with so many passes and failures was an outage.
pub fn is_outage(passes: i64, failures: i64) -> bool {
    let all = passes + failures;
    all >= OUTAGE_RESULTS && failures as f64 > OUTAGE_SHARE * all as f64
}

/// One result of a test, of a run that was no outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation<'a> {
    /// Whether it passed; `None` for a skip.
    pub passed: Option<bool>,
    /// It passed after an attempt in the same run had failed.
    pub retried: bool,
    /// The commit, if the tree was clean.
    pub clean_commit: Option<&'a str>,
    /// The branch.
    pub branch: Option<&'a str>,
}

/// What a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Passes and fails on the same code.
    Flaky,
    /// Perhaps flaky: the evidence is not enough.
    Suspect,
    /// Fails now, and code explains it.
    Broken,
    /// Failed a short while ago, and code explains it.
    Fixed,
    /// Too few results.
    New,
    /// Passes.
    Stable,
}

impl Verdict {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Flaky => "flaky",
            Verdict::Suspect => "suspect",
            Verdict::Broken => "broken",
            Verdict::Fixed => "fixed",
            Verdict::New => "new",
            Verdict::Stable => "stable",
        }
    }
}

/// A fact about the results that a person can check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// A clean commit on which it passed and failed.
    SameCommit {
        /// The commit.
        commit_id: String,
        /// Passes on it.
        passes: usize,
        /// Failures on it.
        failures: usize,
    },
    /// Runs in which it failed and then passed on a retry.
    PassedOnRetry {
        /// How many.
        runs: usize,
    },
    /// Times it began to fail and passed again, with a change of code in between: weak evidence.
    CameAndWent {
        /// How many.
        times: usize,
    },
    /// It fails now.
    FailsNow {
        /// How many of its newest results failed.
        streak: usize,
    },
    /// It fails no more.
    FailedBefore {
        /// How many results ago.
        results_ago: usize,
    },
    /// It has few results.
    FewResults {
        /// How many.
        results: usize,
    },
    /// It never failed.
    NeverFailed {
        /// In how many results.
        results: usize,
    },
}

/// The verdict with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The probability that the test is flaky.
    pub flaky_probability: f64,
    /// The rate at which it fails although the code is good: the posterior's mean.
    pub flake_rate: f64,
    /// The 95 % interval of that rate (equal tails).
    pub flake_rate_interval: (f64, f64),
    /// The natural logarithm of the Bayes factor, flaky against deterministic.
    pub log_bayes_factor: f64,
    /// What speaks for it, the strongest first.
    pub reasons: Vec<Reason>,
}

/// Judges a test by its results, oldest first.
pub fn judge(observations: &[Observation]) -> Judgement {
    let steps = steps(observations);
    let (mut flaky, mut deterministic) = (Model::new(true), Model::new(false));
    for (at, step) in steps.iter().enumerate() {
        let weight = 0.5_f64.powf((steps.len() - 1 - at) as f64 / HALF_LIFE);
        flaky.see(step, weight);
        deterministic.see(step, weight);
    }
    let log_bayes_factor = flaky.log_score - deterministic.log_score;
    let odds = PRIOR / (1.0 - PRIOR) * log_bayes_factor.exp();
    let facts = Facts::of(observations);
    let flaky_probability = match odds {
        // A test that never passed is broken from the start; a rate of its own near 1 says the same.
        _ if facts.streak == facts.results && facts.results > 0 => 0.0,
        odds if odds.is_finite() => odds / (1.0 + odds),
        _ => 1.0,
    };
    let (a, b) = (flaky.failures + 0.5, flaky.results - flaky.failures + 0.5);
    Judgement {
        verdict: verdict(flaky_probability, &facts),
        flaky_probability,
        flake_rate: a / (a + b),
        flake_rate_interval: (beta::quantile(a, b, 0.025), beta::quantile(a, b, 0.975)),
        log_bayes_factor,
        reasons: facts.reasons(),
    }
}

fn verdict(flaky_probability: f64, facts: &Facts) -> Verdict {
    if flaky_probability >= FLAKY {
        Verdict::Flaky
    } else if facts.results < NEW {
        Verdict::New
    } else if flaky_probability >= SUSPECT {
        Verdict::Suspect
    } else if facts.streak > 0 {
        Verdict::Broken
    } else if facts.results_since_failure.is_some_and(|ago| ago <= FIXED_WITHIN) {
        Verdict::Fixed
    } else {
        Verdict::Stable
    }
}

/// One pass or failure.
struct Step<'a> {
    passed: bool,
    branch: Option<&'a str>,
    /// Whether the code may differ from that of the branch's result before.
    changed: bool,
}

/// Passes and failures; a pass on a retry is a failure and a pass of one code.
fn steps<'a>(observations: &[Observation<'a>]) -> Vec<Step<'a>> {
    let mut commits: HashMap<Option<&str>, Option<&str>> = HashMap::new();
    let mut steps = Vec::with_capacity(observations.len());
    for observation in observations {
        let Some(passed) = observation.passed else {
            continue;
        };
        let branch = observation.branch;
        let before = commits.insert(branch, observation.clean_commit).flatten();
        let changed = before.is_none() || before != observation.clean_commit;
        if observation.retried && passed {
            steps.push(Step { passed: false, branch, changed });
            steps.push(Step { passed: true, branch, changed: false });
        } else {
            steps.push(Step { passed, branch, changed });
        }
    }
    steps
}

/// One of the two explanations, filtered.
struct Model<'a> {
    is_flaky: bool,
    /// For each branch the belief that its code is good.
    good: HashMap<Option<&'a str>, f64>,
    /// Failures and results of good code, faded.
    failures: f64,
    results: f64,
    log_score: f64,
}

impl<'a> Model<'a> {
    fn new(is_flaky: bool) -> Model<'a> {
        Model { is_flaky, good: HashMap::new(), failures: 0.0, results: 0.0, log_score: 0.0 }
    }

    fn see(&mut self, step: &Step<'a>, weight: f64) {
        let good = match self.good.get(&step.branch) {
            None => 1.0 - BROKEN_AT_FIRST,
            Some(good) if step.changed => good * (1.0 - BREAK) + (1.0 - good) * REPAIR,
            Some(good) => *good,
        };
        let fails_when_good = if self.is_flaky { (self.failures + 0.5) / (self.results + 1.0) } else { FREAK };
        let (by_good, by_broken) =
            if step.passed { (1.0 - fails_when_good, FREAK) } else { (fails_when_good, 1.0 - FREAK) };
        let probability = good * by_good + (1.0 - good) * by_broken;
        self.log_score += weight * probability.ln();
        let now_good = good * by_good / probability;
        self.good.insert(step.branch, now_good);
        // Counts fade at the pace of the weights, so that both speak of the same past.
        let fade = 0.5_f64.powf(1.0 / HALF_LIFE);
        self.results = self.results * fade + now_good;
        self.failures = self.failures * fade + if step.passed { 0.0 } else { now_good };
    }
}

/// What can be checked by looking at the results.
#[derive(Debug, Default)]
struct Facts {
    results: usize,
    streak: usize,
    results_since_failure: Option<usize>,
    retries: usize,
    came_and_went: usize,
    mixed_commits: Vec<(String, usize, usize)>,
}

impl Facts {
    fn of(observations: &[Observation]) -> Facts {
        let mut facts = Facts::default();
        let mut commits: Vec<(&str, usize, usize)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for observation in observations {
            let Some(passed) = observation.passed else {
                continue;
            };
            facts.results += 1;
            facts.retries += usize::from(passed && observation.retried);
            if let Some(commit) = observation.clean_commit {
                let place = *places.entry(commit).or_insert_with(|| {
                    commits.push((commit, 0, 0));
                    commits.len() - 1
                });
                let (_, passes, failures) = &mut commits[place];
                *if passed { passes } else { failures } += 1;
            }
            if passed {
                facts.came_and_went += usize::from(facts.streak > 0);
                facts.streak = 0;
                facts.results_since_failure = facts.results_since_failure.map(|ago| ago + 1);
            } else {
                facts.streak += 1;
                facts.results_since_failure = Some(0);
            }
        }
        let mixed = commits.into_iter().rev().filter(|(_, passes, failures)| *passes > 0 && *failures > 0);
        facts.mixed_commits = mixed.map(|(commit, passes, failures)| (commit.to_string(), passes, failures)).collect();
        facts
    }

    fn reasons(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = self
            .mixed_commits
            .iter()
            .map(|(commit_id, passes, failures)| Reason::SameCommit {
                commit_id: commit_id.clone(),
                passes: *passes,
                failures: *failures,
            })
            .collect();
        if self.retries > 0 {
            reasons.push(Reason::PassedOnRetry { runs: self.retries });
        }
        if self.came_and_went > 0 {
            reasons.push(Reason::CameAndWent { times: self.came_and_went });
        }
        match self.results_since_failure {
            Some(0) => reasons.push(Reason::FailsNow { streak: self.streak }),
            Some(results_ago) => reasons.push(Reason::FailedBefore { results_ago }),
            None if self.retries == 0 => reasons.push(Reason::NeverFailed { results: self.results }),
            None => {}
        }
        if self.results < NEW {
            reasons.push(Reason::FewResults { results: self.results });
        }
        reasons
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
