//! Owns tests that are run more than once: failed ones again, new ones under stress.
//! Each attempt gets a worker of its own, so that fixtures of every scope are set up
//! as in a fresh run of that test. The decision is `rerun`'s.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use regex_lite::Regex;

use super::dispatcher::State;
use super::host::Host;
use super::plan::Unit;
use super::stress::Stress;
use crate::flaky::verdict::Verdict;
use crate::history::select::{RunFilter, TestFilter};
use crate::history::verdicts::Listed;
use crate::history::{HistoryError, Store};
use crate::location::Location;
use crate::outcome::Outcome;
use crate::record::TestResult;
use crate::rerun::{Attempted, Budget, Past, Reason, SURPRISING_AFTER, decide};
use crate::result::of_attempts;
use crate::server::{BriefItem, Marks, Rules};
use crate::tally::Ending;

/// When a failed test is run again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RerunWhen {
    /// As soon as a worker is free
    #[default]
    Now,
    /// After all other tests
    End,
}

/// What was asked about running tests again.
#[derive(Debug, Clone, Default)]
pub struct Reruns {
    /// How often a failed test may be run again.
    pub most: Option<u32>,
    /// How long to wait before.
    pub delay: Option<Duration>,
    /// Only failures that match one of these.
    pub only: Vec<Regex>,
    /// When.
    pub when: RerunWhen,
    /// Only tests whose history says so.
    pub only_flaky: bool,
    /// The most reruns of the run.
    pub most_in_all: Option<u32>,
    /// The most time for them.
    pub most_time: Option<Duration>,
}

/// Tests that are run more than once, in one run.
#[derive(Debug, Default)]
pub(super) struct Retries {
    asked: Reruns,
    rules: Rules,
    /// Where history is.
    history: Option<Location>,
    /// New tests, and how often each is run.
    pub stress: Stress,
    /// Attempts that ended of tests that have no result yet.
    earlier: HashMap<u32, Vec<TestResult>>,
    waiting: VecDeque<Waiting>,
    made: u32,
    took: Duration,
    known: Option<Known>,
    told_of_budget: bool,
    /// Not every failure counts, so workers must not stop by themselves at some of them.
    pub failures_are_judged: bool,
}

#[derive(Debug)]
struct Waiting {
    item: u32,
    due: Instant,
    /// After everything else.
    at_end: bool,
    stress: bool,
}

/// What history knows, read at the first failure that asks for it.
#[derive(Debug, Default)]
struct Known {
    past: HashMap<Box<str>, Past>,
}

impl Retries {
    pub(super) fn new(asked: Reruns, rules: Rules, history: Option<Location>) -> Retries {
        Retries { asked, rules, history, ..Retries::default() }
    }

    /// Which attempt of an item comes next, from 1.
    pub(super) fn next_attempt(&self, item: u32) -> u32 {
        self.earlier(item).len() as u32 + 1
    }

    /// Whether any of these tests may be run again.
    pub(super) fn any(&self, items: &[BriefItem]) -> bool {
        self.reruns(None) > 0 || items.iter().any(|item| self.reruns(item.marks.as_deref()) > 0)
    }

    /// Puts a test under stress: it is run once more after everything else.
    pub(super) fn once_more(&mut self, item: u32, result: TestResult, due: Instant) {
        self.earlier.entry(item).or_default().push(result);
        self.waiting.push_back(Waiting { item, due, at_end: true, stress: true });
    }

    /// Attempts of an item that ended before.
    pub(super) fn earlier(&self, item: u32) -> &[TestResult] {
        self.earlier.get(&item).map_or(&[], Vec::as_slice)
    }

    /// A test goes on here that was run elsewhere before.
    pub(super) fn resume(&mut self, item: u32, attempts: Vec<TestResult>) {
        self.earlier.insert(item, attempts);
    }

    /// All attempts of a test that goes on elsewhere.
    fn handed_on(&mut self, item: u32, result: TestResult) -> Vec<TestResult> {
        self.made += 1;
        let mut attempts = self.earlier.remove(&item).unwrap_or_default();
        attempts.push(result);
        attempts
    }

    /// All attempts so far of a test that this node does not run any more.
    pub(super) fn take_attempts(&mut self, item: u32) -> Vec<TestResult> {
        self.earlier.remove(&item).unwrap_or_default()
    }

    /// Somebody waits to be run again.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn reruns(&self, marks: Option<&Marks>) -> u32 {
        // With the plugin, marks and pytest's settings are the plugin's.
        let (by_mark, by_rules) = match self.rules.rerun_plugin {
            true => (None, None),
            false => (marks.and_then(|marks| marks.reruns), self.rules.reruns),
        };
        by_mark.or(self.asked.most).or(by_rules).unwrap_or(0)
    }

    fn delay(&self, marks: Option<&Marks>) -> Duration {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).ok();
        let by_mark = marks.and_then(|marks| marks.reruns_delay).and_then(seconds);
        by_mark.or(self.asked.delay).or_else(|| self.rules.reruns_delay.and_then(seconds)).unwrap_or_default()
    }

    /// Whether the failure is one that is worth it.
    fn matches(&self, marks: Option<&Marks>, result: &TestResult) -> bool {
        let text = told(result);
        let any = |patterns: &[String]| {
            // A pattern of a mark that cannot be read matches nothing.
            patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()).any(|pattern| pattern.is_match(&text))
        };
        if marks.and_then(|marks| marks.rerun_except.as_deref()).is_some_and(any) {
            return false;
        }
        if let Some(only) = marks.and_then(|marks| marks.only_rerun.as_deref()) {
            return any(only);
        }
        if !self.asked.only.is_empty() {
            return self.asked.only.iter().any(|pattern| pattern.is_match(&text));
        }
        self.rules.only_rerun.is_empty() || any(&self.rules.only_rerun)
    }

    fn budget(&self) -> Budget {
        Budget { most: self.asked.most_in_all, time: self.asked.most_time, made: self.made, took: self.took }
    }
}

/// What of an item's marks cannot be read, and why.
pub(super) fn problem_of(marks: &Marks) -> Option<String> {
    let patterns = marks.only_rerun.iter().chain(&marks.rerun_except).flatten();
    let mut wrong = patterns.filter_map(|pattern| Some(format!("{pattern:?}: {}", Regex::new(pattern).err()?)));
    marks.problem.clone().or_else(|| wrong.next())
}

/// What a pattern is looked for in: pytest's own lines about the exception where its
/// message has them, so that source lines do not match; and the cause.
fn told(result: &TestResult) -> String {
    let message = result.message.as_deref().unwrap_or_default();
    let errors: Vec<&str> = message.lines().filter(|line| line.starts_with("E ")).collect();
    let text = if errors.is_empty() { message.to_string() } else { errors.join("\n") };
    format!("{text}\n{}", result.cause.as_deref().unwrap_or_default())
}

impl State<'_> {
    /// An attempt ended: the test's result, unless the test is to be run once more.
    pub(super) fn settle(&mut self, item: u32, result: TestResult) -> Option<TestResult> {
        let retries = &mut self.run.retries;
        let brief = &self.run.items[item as usize];
        let marks = brief.marks.as_deref();
        let earlier = retries.earlier(item).len() as u32;
        if earlier > 0 {
            retries.took += Duration::try_from_secs_f64(result.duration_ms / 1000.0).unwrap_or_default();
        }
        let open = self.stopped.is_none() && !matches!(self.run.host, Host::Here { .. });
        if open && self.under_stress(item, &result) {
            return None;
        }
        let retries = &mut self.run.retries;
        // Under stress one failure says it all.
        let passed_before = retries.earlier(item).iter().any(|one| !one.outcome.is_failure());
        let reruns = retries.reruns(marks);
        if open && reruns > 0 && result.outcome.is_failure() && !passed_before {
            let (matches, budget) = (retries.matches(marks, &result), retries.budget());
            let only_flaky = retries.asked.only_flaky;
            let past = if only_flaky && matches { self.past(&brief.node_id) } else { None };
            let attempted = Attempted {
                failed: true,
                attempts: earlier + 1,
                reruns,
                matches,
                only_flaky,
                past: past.as_ref(),
                budget,
            };
            let decision = decide(&attempted);
            self.tell(brief, decision.reason);
            if decision.again && self.others_rerun() && self.run.retries.delay(brief.marks.as_deref()).is_zero() {
                let attempts = self.run.retries.handed_on(item, result);
                self.pass_on(item, attempts);
                return None;
            }
            if decision.again {
                self.run_again(item, result);
                return None;
            }
        }
        if self.is_given_back(item, &result) && !self.run.retries.earlier(item).is_empty() {
            let attempts = self.run.retries.take_attempts(item);
            self.pass_on(item, attempts);
            return None;
        }
        let earlier = self.run.retries.earlier.remove(&item);
        Some(match earlier {
            // Nothing came of the attempt: what was seen before stands.
            Some(mut earlier) if result.outcome == Outcome::NotRun => match earlier.pop() {
                Some(last) => of_attempts(earlier, last),
                None => result,
            },
            Some(earlier) => of_attempts(earlier, result),
            None => result,
        })
    }

    fn run_again(&mut self, item: u32, result: TestResult) {
        let retries = &mut self.run.retries;
        let brief = &self.run.items[item as usize];
        let delay = retries.delay(brief.marks.as_deref());
        // Their worker has what they need until its end, and an interpreter of its own costs as much as many tests.
        let at_end = retries.asked.when == RerunWhen::End || self.run.ties.is_kept(item) || !self.run.host.is_shared();
        retries.made += 1;
        retries.earlier.entry(item).or_default().push(result);
        retries.waiting.push_back(Waiting { item, due: Instant::now() + delay, at_end, stress: false });
        let busy = self.slots.iter().filter(|slot| slot.status.is_none()).count();
        if !at_end && delay.is_zero() && busy >= self.most_workers {
            self.make_room();
        }
    }

    /// The worker with the least left goes home after what it has claimed, so that a
    /// fresh one can take its place.
    fn make_room(&mut self) {
        let open = (0..self.slots.len()).filter(|&index| self.slots[index].is_open());
        if let Some(index) = open.min_by_key(|&index| self.slots[index].waiting()) {
            let back: Unit = self.slots[index].take_back().into();
            self.slots[index].close();
            self.give_back(back);
        }
    }

    /// Starts workers for tests that are due.
    pub(super) fn start_reruns(&mut self) {
        while self.stopped.is_none() && self.run.retries.is_waiting() {
            let busy = self.slots.iter().filter(|slot| slot.status.is_none()).count();
            if busy >= self.most_workers {
                return;
            }
            let more_to_begin =
                !self.queue.is_empty() || self.slots.iter().any(|slot| slot.is_open() && slot.waiting() > 0);
            let now = Instant::now();
            let due = |waiting: &Waiting| waiting.due <= now && !(waiting.at_end && more_to_begin);
            let due = |waiting: &Waiting| due(waiting) && self.is_free([waiting.item]);
            let retries = &self.run.retries;
            // A failure that is looked into goes before one that is looked for.
            let place = (retries.waiting.iter().position(|waiting| due(waiting) && !waiting.stress))
                .or_else(|| retries.waiting.iter().position(due));
            let Some(waiting) = place.and_then(|place| self.run.retries.waiting.remove(place)) else {
                return;
            };
            if !waiting.stress && !self.run.retries.budget().has_time() {
                self.give_up_on(waiting.item);
                continue;
            }
            match self.new_worker(Unit::from([waiting.item])) {
                Ok(index) if self.run.host.is_shared() => {
                    self.feed(index, 1);
                    self.slots[index].close();
                }
                Ok(_) => {}
                Err(error) => {
                    return self.stop(Ending::Broken { reason: format!("cannot start a worker: {error:#}") });
                }
            }
        }
    }

    /// The budget ended before a promised rerun began: what was seen before stands.
    fn give_up_on(&mut self, item: u32) {
        self.tell(&self.run.items[item as usize], Reason::NoBudget);
        let mut earlier = self.run.retries.earlier.remove(&item).unwrap_or_default();
        if let Some(last) = earlier.pop()
            && self.deliver(item, of_attempts(earlier, last))
        {
            self.count_failure();
        }
    }

    fn tell(&mut self, brief: &BriefItem, reason: Reason) {
        let id = &brief.node_id;
        let report = &mut self.run.sinks.report;
        match reason {
            Reason::Surprising => report.note(&format!(
                "{id} failed after {SURPRISING_AFTER} passes or more: this may be a regression; it is run again"
            )),
            Reason::NoBudget if !self.run.retries.told_of_budget => {
                self.run.retries.told_of_budget = true;
                report
                    .note(&format!("{id} is not run again, and neither are others: the budget for reruns is used up"));
            }
            _ => {}
        }
    }

    /// What history knows of a test.
    fn past(&mut self, node_id: &str) -> Option<Past> {
        if self.run.retries.known.is_none() {
            let known = match self.run.retries.history.as_ref().map(read_known) {
                Some(Ok(known)) => known,
                Some(Err(error)) => {
                    self.run.sinks.report.note(&format!("--only-flaky: {error}: every failed test is run again"));
                    Known::default()
                }
                None => Known::default(),
            };
            self.run.retries.known = Some(known);
        }
        self.run.retries.known.as_ref().and_then(|known| known.past.get(node_id)).copied()
    }
}

fn read_known(location: &Location) -> Result<Known, HistoryError> {
    let store = match Store::open_to_read(location) {
        Err(HistoryError::Missing { .. }) => return Ok(Known::default()),
        other => other?,
    };
    let mut known = Known::default();
    store.each_summary(|summary| {
        let past = Past {
            runs: summary.pass_count + summary.fail_count,
            flaky: false,
            pass_streak: summary.pass_streak,
            failure_rate: summary.failure_rate(),
        };
        known.past.insert(summary.node_id.into(), past);
    })?;
    let all = TestFilter::new(Vec::new());
    for row in store.verdicts(&RunFilter::default(), &all, Listed::Verdicts(&[Verdict::Flaky, Verdict::Suspect]))? {
        if let Some(past) = known.past.get_mut(row.node_id.as_str()) {
            past.flaky = true;
        }
    }
    Ok(known)
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
