//! `bench knee`: the highest rate at which p99 stays within a bound, by bisection with repeats.
//! Must never touch: how a run is measured.

use crate::lab::engine::{self, Watch};
use crate::lab::error::LabError;
use crate::lab::result::{Broker, Knee, KneeStep, Run};
use crate::lab::scenario::{Rate, Scenario};
use crate::lab::screen::{grouped, time};
use crate::lab::sweep::p99_us;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A rate is kept if this part of it was acknowledged.
const RATE_KEPT: f64 = 0.98;

/// What to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The bound of p99 in milliseconds.
    pub p99_below_ms: f64,
    /// The first rate, records per second.
    pub from: f64,
    /// The highest rate to try.
    pub to: f64,
    /// Runs of each rate.
    pub repeats: u32,
    /// Done when the lowest rate beyond the bound is at most this part above the highest within.
    pub precision: f64,
}

/// The bisection itself: which rate comes next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bisection {
    search: Search,
    within: Option<f64>,
    beyond: Option<f64>,
}

impl Bisection {
    /// Nothing tried yet.
    pub fn new(search: Search) -> Bisection {
        Bisection { search, within: None, beyond: None }
    }

    /// The next rate to try; none when it is found.
    pub fn next(&self) -> Option<f64> {
        match (self.within, self.beyond) {
            (None, None) => Some(self.search.from),
            (Some(within), None) if within >= self.search.to => None,
            (Some(within), None) => Some((within * 2.0).min(self.search.to)),
            // Nothing is within: down to a record per second.
            (None, Some(beyond)) => (beyond > 1.0).then(|| (beyond / 4.0).max(1.0)),
            (Some(within), Some(beyond)) if beyond <= within * (1.0 + self.search.precision) => None,
            (Some(within), Some(beyond)) => Some((within * beyond).sqrt()),
        }
    }

    /// How a rate went.
    pub fn tried(&mut self, rate: f64, is_within: bool) {
        if is_within {
            self.within = Some(self.within.map_or(rate, |within| within.max(rate)));
        } else {
            self.beyond = Some(self.beyond.map_or(rate, |beyond| beyond.min(rate)));
        }
    }
}

/// Whether a run kept the rate and stayed within the bound; none if it cannot tell: it is INVALID for a reason that is not
/// the broker's.
fn is_within(run: &Run, rate: f64, p99_below_ms: f64) -> Option<bool> {
    let failed = [&run.produced, &run.consumed].into_iter().flatten().any(|side| side.errors > 0);
    if failed || run.produced.as_ref().is_none_or(|side| side.records == 0) {
        return Some(false);
    }
    let kept = run.produced.as_ref().is_some_and(|side| side.records_per_s >= RATE_KEPT * rate);
    run.validity.is_valid().then(|| kept && p99_us(run) < p99_below_ms * 1e3)
}

/// What most of the runs that can tell say; none if too few of them can.
fn majority(votes: &[Option<bool>]) -> Option<bool> {
    let good = votes.iter().filter(|vote| **vote == Some(true)).count();
    let told = votes.iter().flatten().count();
    (2 * told > votes.len()).then_some(2 * good > told)
}

fn vote(runs: &[Run], rate: f64, p99_below_ms: f64) -> Option<bool> {
    let votes: Vec<Option<bool>> = runs.iter().map(|run| is_within(run, rate, p99_below_ms)).collect();
    majority(&votes)
}

/// The rate at which the search ended because most runs were INVALID; none if it came to its end.
pub fn undecided(knee: &Knee) -> Option<f64> {
    let last = knee.steps.last()?;
    vote(&last.runs, last.rate, knee.p99_below_ms).is_none().then_some(last.rate)
}

/// Searches. A signal or a run that fails ends it, with the steps that are complete and why it failed; only if there are none, all
/// of it fails.
pub fn measure(
    broker: &Broker,
    scenario: &Scenario,
    search: Search,
    stop: &Arc<AtomicBool>,
    mut watch: impl FnMut(f64, u32) -> Box<dyn Watch>,
) -> Result<(Knee, Option<LabError>), LabError> {
    let (knee, failed) = search_with(search, stop, |rate, repeat| {
        let mut scenario = scenario.clone();
        scenario.producers.rate = Rate::Fixed(rate);
        engine::run(broker, 0, &scenario, stop, watch(rate, repeat).as_mut())
    });
    match failed {
        Some(failed) if knee.steps.is_empty() => Err(failed),
        failed => Ok((knee, failed)),
    }
}

/// The search with runs made elsewhere, and what ended it early.
fn search_with(
    search: Search,
    stop: &AtomicBool,
    mut run: impl FnMut(f64, u32) -> Result<Run, LabError>,
) -> (Knee, Option<LabError>) {
    let mut bisection = Bisection::new(search);
    let mut steps = Vec::new();
    let mut failed = None;
    'search: while let Some(rate) = bisection.next() {
        let mut runs = Vec::new();
        for repeat in 0..search.repeats {
            match run(rate, repeat) {
                Ok(run) => runs.push(run),
                Err(error) => {
                    failed = Some(error);
                    break 'search;
                }
            }
            if stop.load(Ordering::Relaxed) {
                break 'search;
            }
        }
        let vote = vote(&runs, rate, search.p99_below_ms);
        steps.push(KneeStep { rate, within: vote == Some(true), runs });
        match vote {
            Some(within) => bisection.tried(rate, within),
            None => break,
        }
    }
    (Knee { p99_below_ms: search.p99_below_ms, steps, rate: bisection.within, rate_above: bisection.beyond }, failed)
}

/// The search as a table.
pub fn table(knee: &Knee, broker: &Broker) -> String {
    let mut text = format!("{} at {} ({})\n", broker.name, broker.address, broker.durability.words());
    for step in &knee.steps {
        let p99s: Vec<String> = step.runs.iter().map(|run| time(p99_us(run))).collect();
        let verdict = match step.within {
            true => "within",
            false if undecided(knee) == Some(step.rate) => "INVALID",
            false => "beyond",
        };
        text.push_str(&format!("  {:>11} records/s  {verdict}  p99 {}\n", grouped(step.rate), p99s.join(", ")));
        for reason in step.runs.iter().flat_map(|run| run.validity.reasons.iter().chain(&run.validity.remarks)) {
            text.push_str(&format!("      {reason}\n"));
        }
    }
    if let Some(rate) = undecided(knee) {
        let rate = grouped(rate);
        text.push_str(&format!("the search ended at {rate} records/s: most runs there are INVALID and cannot tell\n"));
    }
    let bound = format!("p99 stays below {} ms up to", knee.p99_below_ms);
    text.push_str(&match (knee.rate, knee.rate_above) {
        (Some(rate), Some(above)) => format!("{bound} {} records/s; {} are too many\n", grouped(rate), grouped(above)),
        (Some(rate), None) => {
            format!("{bound} {} records/s at least: nothing above it was found wanting\n", grouped(rate))
        }
        (None, _) => format!("p99 was below {} ms at no rate that was tried\n", knee.p99_below_ms),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::tests::sample_run;

    const SEARCH: Search = Search { p99_below_ms: 10.0, from: 1_000.0, to: 1e6, repeats: 3, precision: 0.05 };

    /// Searches for a knee that is known.
    fn find(search: Search, knee: f64) -> (Bisection, usize) {
        let mut bisection = Bisection::new(search);
        let mut steps = 0;
        while let Some(rate) = bisection.next() {
            bisection.tried(rate, rate <= knee);
            steps += 1;
            assert!(steps < 60, "{bisection:?}");
        }
        (bisection, steps)
    }

    #[test]
    fn the_knee_is_found_to_the_precision() {
        for knee in [3.0, 999.0, 1_000.0, 54_321.0, 999_999.0] {
            let (found, steps) = find(SEARCH, knee);
            let (within, beyond) = (found.within.unwrap(), found.beyond.unwrap());
            assert!(within <= knee && knee < beyond && beyond <= within * 1.05, "{knee}: {found:?}");
            assert!(steps < 25, "{knee}: {steps}");
        }
    }

    #[test]
    fn the_ends_of_the_search_are_ends() {
        assert_eq!(find(SEARCH, 1e9).0, Bisection { search: SEARCH, within: Some(1e6), beyond: None });
        assert_eq!(find(SEARCH, 0.0).0, Bisection { search: SEARCH, within: None, beyond: Some(1.0) });
    }

    #[test]
    fn within_means_valid_kept_and_fast() {
        let mut run = sample_run();
        assert_eq!(is_within(&run, 1_000.0, 1.0), Some(true));
        assert_eq!(is_within(&run, 1_100.0, 1.0), Some(false), "the rate was not kept");
        assert_eq!(is_within(&run, 1_000.0, 0.9), Some(false), "p99 is 990 µs");
        run.validity = crate::lab::result::Validity::new(vec!["late".to_string()], Vec::new());
        assert_eq!(is_within(&run, 1_000.0, 1.0), None, "the generator's fault says nothing of the broker");
        run.produced.as_mut().unwrap().errors = 1;
        assert_eq!(is_within(&run, 1_000.0, 1.0), Some(false));
    }

    #[test]
    fn what_was_found_before_a_run_fails_is_kept() {
        let search = Search { repeats: 2, ..SEARCH };
        let (stop, mut left) = (AtomicBool::new(false), 5);
        let (knee, failed) = search_with(search, &stop, |rate, _| {
            left -= 1;
            let mut run = sample_run();
            run.produced.as_mut().unwrap().records_per_s = rate;
            if left > 0 { Ok(run) } else { Err(LabError::Failed("the broker is gone".to_string())) }
        });
        assert_eq!((knee.steps.len(), knee.rate), (2, Some(2_000.0)), "the third step is not complete");
        assert_eq!(failed.unwrap().to_string(), "the broker is gone");
    }

    #[test]
    fn runs_that_cannot_tell_do_not_vote() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(majority(&[yes, yes, no]), yes);
        assert_eq!(majority(&[yes, no, None]), no, "half is not most");
        assert_eq!(majority(&[yes, None, None]), None);
        assert_eq!(majority(&[yes, yes, None]), yes);
    }
}
