//! Whether a run may be believed: one rule for each way in which a measurement deceives.
//! Must never touch: clocks, sockets, files.

use crate::lab::result::{GeneratorUse, Side, Validity};
use crate::lab::scenario::{Rate, Scenario};

/// A thread of the generator that is busier than this measures itself.
const BUSY_MAX: f64 = 0.9;
/// CPU that others on the same host may have.
const STEAL_MAX: f64 = 0.02;
/// CPU that other programs on this machine may have.
const OTHERS_MAX: f64 = 0.05;
/// The generator may be as late as this whatever the latency is…
const LATE_MAX_US: f64 = 200.0;
/// … or as this part of the p99 that it reports.
const LATE_SHARE_MAX: f64 = 0.1;
/// A rate is kept if this part of it was acknowledged.
const RATE_KEPT: f64 = 0.99;
/// Room that a disk must have left, as a part of it.
const DISK_FREE_MIN: f64 = 0.02;
/// Seconds of a run at full speed may spread by this around their median (half of them, quartile to quartile).
const SPREAD_MAX: f64 = 0.5;
/// With fewer seconds nothing can be said of their spread.
const SPREAD_FROM_SECS: usize = 8;

/// What the rules look at.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was to be done.
    pub scenario: &'a Scenario,
    /// What producers saw.
    pub produced: Option<&'a Side>,
    /// What consumers saw.
    pub consumed: Option<&'a Side>,
    /// What the generator used.
    pub generator: &'a GeneratorUse,
    /// It was ended by a signal.
    pub interrupted: bool,
    /// CPU time that other programs on this machine used in user mode, as a share of all of the machine's, 0 to 1; none if
    /// the broker's own process is not known.
    pub others: Option<f64>,
    /// Producers that still waited for answers long after the end.
    pub unanswered: u64,
    /// Acknowledged records that no consumer got.
    pub missing: u64,
    /// Bytes free on the volume of the broker's data, and its size, if it is here.
    pub volume: Option<(u64, u64)>,
    /// The broker's process ended during the run.
    pub broker_gone: bool,
}

/// Applies all rules.
pub fn judge(facts: &Facts<'_>) -> Validity {
    let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
    if facts.interrupted {
        reasons.push("it was ended early by a signal".to_string());
    }
    if facts.broker_gone {
        reasons.push("the broker's process ended during the run".to_string());
    }
    for (name, side) in [("producers", facts.produced), ("consumers", facts.consumed)] {
        let Some(side) = side else { continue };
        if side.errors > 0 {
            let names: Vec<String> = side.error_names.iter().map(|(name, count)| format!("{count} × {name}")).collect();
            reasons.push(format!("requests of {name} failed: {}", names.join(", ")));
        }
        if side.records == 0 {
            reasons.push(format!("no record of the {name} came through in the measured time"));
        }
        if side.retries > 0 {
            remarks.push(format!("{} batches were sent again", side.retries));
        }
    }
    // Whoever ends it early leaves requests unanswered and records on their way.
    let came_to_its_end = !facts.interrupted && !facts.broker_gone;
    if facts.unanswered > 0 && came_to_its_end {
        let who =
            if facts.unanswered == 1 { "1 producer".to_string() } else { format!("{} producers", facts.unanswered) };
        reasons.push(format!("{who} still waited for answers 10 s after the end"));
    }
    if facts.missing > 0 && came_to_its_end {
        reasons.push(format!("{} acknowledged records did not arrive at the consumers", facts.missing));
    }
    generator_rules(facts, &mut reasons);
    rate_rules(facts, &mut reasons, &mut remarks);
    if let Some((free, all)) = facts.volume
        && (free as f64) < DISK_FREE_MIN * all as f64
    {
        reasons.push(format!("the broker's disk is full: {} MB of {} are left", free >> 20, all >> 20));
    }
    Validity::new(reasons, remarks)
}

fn generator_rules(facts: &Facts<'_>, reasons: &mut Vec<String>) {
    let generator = facts.generator;
    if generator.busiest_thread > BUSY_MAX {
        let percent = generator.busiest_thread * 100.0;
        reasons.push(format!("the generator is the limit: one of its threads was busy for {percent:.0} % of the time"));
    }
    let p99_us = facts.consumed.into_iter().chain(facts.produced).map(|side| side.latency.p99_us).fold(0.0, f64::max);
    let late_us = generator.late.p99_us;
    if generator.late.count > 0 && late_us > LATE_MAX_US && late_us > LATE_SHARE_MAX * p99_us {
        reasons.push(format!("the generator was late: it woke up {late_us:.0} µs behind time at p99"));
    }
    if let Some(steal) = generator.steal.filter(|&steal| steal > STEAL_MAX) {
        reasons.push(format!("the machine lost {:.1} % of its CPU time to others on its host", steal * 100.0));
    }
    if let Some(others) = facts.others.filter(|&others| others > OTHERS_MAX) {
        reasons.push(format!("other programs used {:.0} % of the machine's CPU time", others * 100.0));
    }
}

fn rate_rules(facts: &Facts<'_>, reasons: &mut Vec<String>, remarks: &mut Vec<String>) {
    let Some(side) = facts.produced else { return };
    let scenario = facts.scenario;
    match &scenario.producers.rate {
        Rate::Fixed(rate) if side.records_per_s < RATE_KEPT * rate => {
            remarks.push(format!(
                "the rate was not kept: {:.0} of {rate:.0} records/s were acknowledged",
                side.records_per_s
            ));
        }
        Rate::Max if side.intervals.len() >= SPREAD_FROM_SECS => {
            let mut rates: Vec<f64> = side.intervals.iter().map(|interval| interval.records_per_s).collect();
            rates.sort_by(f64::total_cmp);
            let at = |part: usize| rates[rates.len() * part / 4];
            if at(3) - at(1) > SPREAD_MAX * at(2) {
                reasons.push(format!(
                    "the spread is too wide: half of the seconds lie between {:.0} and {:.0} records/s, the others outside",
                    at(1),
                    at(3)
                ));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::tests::sample_run;

    /// Judges a run of which something was changed.
    fn judged(change: impl FnOnce(&mut crate::lab::result::Run), facts: impl FnOnce(&mut Facts<'_>)) -> Validity {
        let mut run = sample_run();
        run.generator.late = crate::lab::result::Latency::new(&crate::lab::result::new_histogram());
        change(&mut run);
        let mut all = Facts {
            scenario: &run.scenario,
            produced: run.produced.as_ref(),
            consumed: None,
            generator: &run.generator,
            interrupted: false,
            others: Some(0.01),
            unanswered: 0,
            missing: 0,
            volume: Some((50, 100)),
            broker_gone: false,
        };
        facts(&mut all);
        judge(&all)
    }

    #[test]
    fn a_quiet_run_is_valid() {
        let validity = judged(|_| {}, |_| {});
        assert!(validity.is_valid() && validity.remarks.is_empty(), "{validity:?}");
    }

    #[test]
    fn each_rule_can_fail() {
        let says = |validity: Validity, words: &str| {
            assert!(!validity.is_valid() && validity.reasons[0].contains(words), "{words}: {validity:?}");
        };
        says(judged(|_| {}, |facts| facts.interrupted = true), "signal");
        says(judged(|_| {}, |facts| facts.broker_gone = true), "process ended");
        says(judged(|_| {}, |facts| facts.unanswered = 1), "waited for answers");
        let gone = judged(|_| {}, |facts| (facts.broker_gone, facts.unanswered, facts.missing) = (true, 1, 3));
        assert_eq!(gone.reasons.len(), 1, "{gone:?}");
        says(judged(|_| {}, |facts| facts.missing = 3), "3 acknowledged records");
        says(judged(|_| {}, |facts| facts.volume = Some((1, 100))), "disk is full");
        says(judged(|run| run.generator.busiest_thread = 0.95, |_| {}), "generator is the limit");
        says(judged(|run| run.generator.late = run.generator.lag.clone(), |_| {}), "generator was late");
        says(judged(|run| run.generator.steal = Some(0.05), |_| {}), "lost 5.0 %");
        says(judged(|_| {}, |facts| facts.others = Some(0.2)), "other programs used 20 %");
        let errors = |run: &mut crate::lab::result::Run| {
            let side = run.produced.as_mut().unwrap();
            side.errors = 2;
            side.error_names.insert("KAFKA_STORAGE_ERROR".to_string(), 2);
        };
        says(judged(errors, |_| {}), "2 × KAFKA_STORAGE_ERROR");
        says(judged(|run| run.produced.as_mut().unwrap().records = 0, |_| {}), "no record");
        let swinging = |run: &mut crate::lab::result::Run| {
            let side = run.produced.as_mut().unwrap();
            let one = side.intervals[0].clone();
            side.intervals = (0..12)
                .map(|n| crate::lab::result::Interval { records_per_s: f64::from(100 + 100 * (n % 4)), ..one.clone() })
                .collect();
        };
        says(judged(swinging, |_| {}), "spread is too wide");
    }

    #[test]
    fn a_rate_that_was_not_kept_is_told() {
        let validity = judged(|run| run.scenario.producers.rate = Rate::Fixed(2_000.0), |_| {});
        assert!(validity.is_valid() && validity.remarks[0].contains("1000 of 2000"), "{validity:?}");
    }
}
