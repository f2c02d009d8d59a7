//! Owns histories with a known truth, to measure verdicts by. Pure: a seed is an argument.
//!
//! A project: every run is of the commit before or, in two of three cases, of a new one; one
//! run in ten has a dirty tree; one run in forty is an outage in which nearly every test
//! fails. Tests: stable ones; flaky ones that fail at a fixed rate; ones that a commit breaks
//! and a later commit repairs, once or several times; order-dependent ones, which fail in the
//! runs whose order is bad (a share of the runs, whatever the commit) and so are flaky too.

use super::verdict::{Observation, is_outage};

/// What a test truly is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    /// Never fails but in outages.
    Stable,
    /// Fails at this rate.
    Flaky(f64),
    /// Broken by commits and repaired by others, so many times.
    Regressing(u32),
    /// Fails when the order of the run is bad, at this rate.
    OrderDependent(f64),
}

impl Truth {
    /// Whether it passes and fails on the same code.
    pub fn is_flaky(self) -> bool {
        matches!(self, Truth::Flaky(_) | Truth::OrderDependent(_))
    }

    /// How often it fails without a cause in the code.
    pub fn rate(self) -> f64 {
        match self {
            Truth::Flaky(rate) | Truth::OrderDependent(rate) => rate,
            Truth::Stable | Truth::Regressing(_) => 0.0,
        }
    }
}

/// xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }
}

/// A run of the simulated project.
#[derive(Debug, Clone)]
struct Run {
    /// The place of its commit.
    commit: usize,
    dirty: bool,
    outage: bool,
}

/// The results of one test.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// What it is.
    pub truth: Truth,
    /// For each run whether it passed.
    pub passed: Vec<bool>,
}

/// A simulated project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its tests.
    pub tests: Vec<Simulated>,
    runs: Vec<Run>,
    commits: Vec<String>,
    /// For each run whether it is seen as an outage.
    outages: Vec<bool>,
}

impl Project {
    /// Simulates `runs` runs of one test for each of `truths`.
    pub fn new(seed: u64, runs: usize, truths: &[Truth]) -> Project {
        let mut random = Random::new(seed);
        let mut commit = 0;
        let runs: Vec<Run> = (0..runs)
            .map(|_| {
                commit += usize::from(random.chance(2.0 / 3.0));
                Run { commit, dirty: random.chance(0.1), outage: random.chance(1.0 / 40.0) }
            })
            .collect();
        let tests: Vec<_> = truths.iter().map(|truth| simulate(*truth, &runs, commit, &mut random)).collect();
        let outages = (0..runs.len())
            .map(|run| {
                let passes = tests.iter().filter(|test| test.passed[run]).count() as i64;
                is_outage(passes, tests.len() as i64 - passes)
            })
            .collect();
        Project { tests, outages, commits: (0..=commit).map(|at| format!("{at:040x}")).collect(), runs }
    }

    /// What the judge may see of a test: no outages, no truth.
    pub fn observations<'a>(&'a self, test: &Simulated) -> Vec<Observation<'a>> {
        let seen = self.runs.iter().zip(&test.passed).zip(&self.outages).filter(|(_, outage)| !**outage);
        seen.map(|((run, passed), _)| Observation {
            passed: Some(*passed),
            retried: false,
            clean_commit: (!run.dirty).then(|| self.commits[run.commit].as_str()),
            branch: Some("main"),
        })
        .collect()
    }
}

fn simulate(truth: Truth, runs: &[Run], last_commit: usize, random: &mut Random) -> Simulated {
    // Commits at which a regression begins and the one that repairs it, one to eight commits later.
    let broken: Vec<(usize, usize)> = match truth {
        Truth::Regressing(times) => (0..times)
            .map(|_| {
                let from = 1 + random.below(last_commit.max(1));
                (from, from + 1 + random.below(8))
            })
            .collect(),
        _ => Vec::new(),
    };
    let passed = runs
        .iter()
        .map(|run| {
            let fails = random.chance(truth.rate());
            let breaks = broken.iter().any(|(from, to)| (*from..*to).contains(&run.commit));
            let hit = run.outage && random.chance(0.95);
            !(fails || breaks || hit)
        })
        .collect();
    Simulated { truth, passed }
}

/// The usual mix: of a hundred tests 60 stable, 20 regressing once to three times, 15 flaky at
/// 0.5, 1, 2, 5, 10, 20 and 50 percent, 5 order-dependent.
pub fn usual_mix() -> Vec<Truth> {
    let flaky = [0.005, 0.01, 0.02, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5].map(Truth::Flaky);
    let regressing = (0..20).map(|at| Truth::Regressing(1 + at % 3));
    let ordered = [0.05, 0.1, 0.2, 0.3, 0.5].map(Truth::OrderDependent);
    std::iter::repeat_n(Truth::Stable, 60).chain(regressing).chain(flaky).chain(ordered).collect()
}

/// How good a rule is: of the tests it names, and of those it should name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The share of named tests that are flaky.
    pub precision: f64,
    /// The share of tests that fail 5 % of the time or more that are named.
    pub recall: f64,
    /// The share of tests that fail 5 % of the time that are named: the hardest of these.
    pub recall_at_5: f64,
}

/// Scores `rule` over `projects` projects of the usual mix with `runs` runs each.
pub fn score(seed: u64, projects: u64, runs: usize, rule: impl Fn(&Project, &Simulated) -> bool) -> Score {
    let (mut named, mut right, mut due, mut found, mut due_at_5, mut found_at_5) = (0, 0, 0, 0, 0, 0);
    for number in 0..projects {
        let project = Project::new(seed + number, runs, &usual_mix());
        for test in &project.tests {
            let is_named = rule(&project, test);
            named += u32::from(is_named);
            right += u32::from(is_named && test.truth.is_flaky());
            if test.truth.rate() >= 0.05 {
                due += 1;
                found += u32::from(is_named);
            }
            if test.truth.rate() == 0.05 {
                due_at_5 += 1;
                found_at_5 += u32::from(is_named);
            }
        }
    }
    let share = |part: u32, whole: u32| if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) };
    Score { precision: share(right, named), recall: share(found, due), recall_at_5: share(found_at_5, due_at_5) }
}

/// The simple rule: a pass and a failure anywhere.
pub fn simple_rule(_: &Project, test: &Simulated) -> bool {
    test.passed.contains(&true) && test.passed.contains(&false)
}

/// Two flips in the last twenty results.
pub fn two_flips_in_twenty(_: &Project, test: &Simulated) -> bool {
    let last = &test.passed[test.passed.len().saturating_sub(20)..];
    last.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 2
}

/// rpt's own.
pub fn verdict_rule(project: &Project, test: &Simulated) -> bool {
    super::verdict::judge(&project.observations(test)).verdict == super::verdict::Verdict::Flaky
}
