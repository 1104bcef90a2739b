//! `bench compare`: the same scenario on several brokers by turns, and what the pairs of runs say.
//! Must never touch: how a run is measured.

use crate::lab::bootstrap::{interval, median};
use crate::lab::engine::{self, Watch};
use crate::lab::error::LabError;
use crate::lab::result::{Broker, Comparison, Durability, Ratio, Run, Validity};
use crate::lab::scenario::Scenario;
use coretide_stdx::prng::Prng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// With fewer pairs an interval says little.
pub const PAIRS_MIN: u32 = 5;
/// An interval of the throughput's ratio that is wider than this (high by low) supports no claim.
const WIDTH_MAX: f64 = 1.5;

/// A figure that is compared: its name, whether more is better, and where it stands in a run.
type Figure = (&'static str, bool, fn(&Run) -> Option<f64>);

const FIGURES: &[Figure] = &[
    ("produced records/s", true, |run| run.produced.as_ref().map(|side| side.records_per_s)),
    ("produced p50 µs", false, |run| run.produced.as_ref().map(|side| side.latency.p50_us)),
    ("produced p99 µs", false, |run| run.produced.as_ref().map(|side| side.latency.p99_us)),
    ("produced p99.9 µs", false, |run| run.produced.as_ref().map(|side| side.latency.p999_us)),
    ("consumed records/s", true, |run| run.consumed.as_ref().map(|side| side.records_per_s)),
    ("end to end p50 µs", false, |run| end_to_end(run).map(|(p50, _)| p50)),
    ("end to end p99 µs", false, |run| end_to_end(run).map(|(_, p99)| p99)),
    ("broker CPU s/GB", false, |run| run.broker_use.as_ref().and_then(|used| used.cpu_secs_per_gb)),
    ("broker CPU s/million records", false, |run| {
        run.broker_use.as_ref().and_then(|used| used.cpu_secs_per_million_records)
    }),
];

fn end_to_end(run: &Run) -> Option<(f64, f64)> {
    let side = run.consumed.as_ref().filter(|side| side.latency.count > 0)?;
    Some((side.latency.p50_us, side.latency.p99_us))
}

/// True unless every side's durability is known and the same.
pub fn is_unequal(brokers: &[Broker]) -> bool {
    let first = brokers.first().map_or(Durability::Unknown, |first| first.durability);
    brokers.iter().any(|broker| !broker.durability.promises_as(first))
}

/// Refuses what would be no comparison.
pub fn check(brokers: &[Broker], allow_unequal: bool) -> Result<(), LabError> {
    if brokers.len() < 2 {
        return Err(LabError::Usage("compare needs two brokers at least".to_string()));
    }
    if is_unequal(brokers) && !allow_unequal {
        let sides: Vec<String> = brokers
            .iter()
            .map(|broker| format!("{}: {} ({})", broker.name, broker.durability.words(), broker.durability_because))
            .collect();
        return Err(LabError::Usage(format!(
            "their durability is not equal, so this would be no comparison: {}. Give the topics the same with \
             --topic-config flush.messages=1, or say --allow-unequal: then every table says what is unequal",
            sides.join("; ")
        )));
    }
    Ok(())
}

/// Refuses so few rounds that nothing follows from them.
pub fn check_pairs(pairs: u32) -> Result<(), LabError> {
    if pairs < PAIRS_MIN {
        return Err(LabError::Usage(format!("{pairs} pairs are too few to say anything: {PAIRS_MIN} at least")));
    }
    Ok(())
}

/// The order of each round: every broker once, shuffled.
pub fn orders(brokers: usize, rounds: u32, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = Prng::new(seed);
    let mut shuffled = || {
        let mut order: Vec<usize> = (0..brokers).collect();
        for place in (1..brokers).rev() {
            order.swap(place, rng.below(place as u64 + 1) as usize);
        }
        order
    };
    (0..rounds).map(|_| shuffled()).collect()
}

/// Runs all rounds. A signal or a run that fails ends it, with the runs so far and why it failed; only if there are none, all of
/// it fails.
pub fn measure(
    brokers: &[Broker],
    scenario: &Scenario,
    (pairs, seed): (u32, u64),
    stop: &Arc<AtomicBool>,
    mut watch: impl FnMut(usize, usize, &Broker) -> Box<dyn Watch>,
) -> Result<(Comparison, Option<LabError>), LabError> {
    let orders = orders(brokers.len(), pairs, seed);
    let (rounds, failed) = rounds(&orders, stop, |round, place| {
        let broker = &brokers[place];
        engine::run(broker, place, scenario, stop, watch(round, pairs as usize, broker).as_mut())
    });
    match failed {
        Some(failed) if rounds.is_empty() => Err(failed),
        failed => Ok((compare(brokers, rounds, pairs, seed), failed)),
    }
}

/// The runs of each round, and what ended them early.
fn rounds(
    orders: &[Vec<usize>],
    stop: &AtomicBool,
    mut run: impl FnMut(usize, usize) -> Result<Run, LabError>,
) -> (Vec<Vec<Run>>, Option<LabError>) {
    let mut rounds: Vec<Vec<Run>> = Vec::new();
    for (round, place) in orders.iter().enumerate().flat_map(|(round, order)| order.iter().map(move |&at| (round, at)))
    {
        match run(round, place) {
            Ok(run) if rounds.len() == round => rounds.push(vec![run]),
            Ok(run) => rounds[round].push(run),
            Err(failed) => return (rounds, Some(failed)),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    (rounds, None)
}

/// What rounds say.
fn compare(brokers: &[Broker], rounds: Vec<Vec<Run>>, pairs: u32, seed: u64) -> Comparison {
    let whole: Vec<&Vec<Run>> = rounds.iter().filter(|runs| runs.len() == brokers.len()).collect();
    let ratios = if whole.is_empty() { Vec::new() } else { all_ratios(brokers.len(), &whole, seed) };
    let mut reasons = Vec::new();
    if whole.len() < pairs as usize {
        reasons.push(format!("only {} of {pairs} rounds are complete", whole.len()));
    }
    for (round, run) in rounds.iter().enumerate().flat_map(|(round, runs)| runs.iter().map(move |run| (round, run))) {
        for reason in &run.validity.reasons {
            reasons.push(format!("round {}, {}: {reason}", round + 1, brokers[run.broker].name));
        }
    }
    for ratio in ratios.iter().filter(|ratio| ratio.more_is_better) {
        let [low, high] = ratio.interval;
        if high > WIDTH_MAX * low {
            let name = &brokers[ratio.broker].name;
            reasons
                .push(format!("{name}'s {} spread too widely: {low:.2} to {high:.2}; more pairs help", ratio.figure));
        }
    }
    let unequal_durability = is_unequal(brokers);
    let remarks = if unequal_durability { vec!["durability is NOT equal".to_string()] } else { Vec::new() };
    Comparison { seed, unequal_durability, rounds, ratios, validity: Validity::new(reasons, remarks) }
}

fn all_ratios(brokers: usize, rounds: &[&Vec<Run>], seed: u64) -> Vec<Ratio> {
    let base = 0;
    let mut ratios = Vec::new();
    for broker in 1..brokers {
        for (figure, more_is_better, of) in FIGURES {
            let value = |round: &Vec<Run>, wanted: usize| round.iter().find(|run| run.broker == wanted).and_then(of);
            let pairs: Option<Vec<(f64, f64)>> =
                rounds.iter().map(|round| value(round, broker).zip(value(round, base))).collect();
            let Some(pairs) = pairs.filter(|pairs| pairs.iter().all(|&(_, below)| below > 0.0)) else { continue };
            let quotients: Vec<f64> = pairs.iter().map(|(above, below)| above / below).collect();
            ratios.push(Ratio {
                figure: figure.to_string(),
                more_is_better: *more_is_better,
                broker,
                base,
                median: median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()),
                base_median: median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>()),
                ratio: median(&quotients),
                interval: interval(&quotients, seed),
                pairs: quotients,
            });
        }
    }
    ratios
}

/// The comparison as a table.
pub fn table(comparison: &Comparison, brokers: &[Broker], scenario: &Scenario) -> String {
    let mut text =
        format!("{}: {} rounds, order shuffled by seed {}\n", scenario.name, comparison.rounds.len(), comparison.seed);
    if comparison.unequal_durability {
        text.push_str("DURABILITY IS NOT EQUAL: this is no comparison of like with like\n");
    }
    for broker in brokers {
        text.push_str(&format!("  {} at {}: {}\n", broker.name, broker.address, broker.durability.words()));
    }
    for ratio in &comparison.ratios {
        let (above, below) = (&brokers[ratio.broker], &brokers[ratio.base]);
        let [low, high] = ratio.interval;
        let better = if ratio.more_is_better { "more is better" } else { "less is better" };
        text.push_str(&format!(
            "  {:<29} {} [{}] / {} [{}]: {} / {} = {:.3} (95 %: {low:.3} to {high:.3}), {better}\n",
            ratio.figure,
            above.name,
            above.durability.words(),
            below.name,
            below.durability.words(),
            figure(ratio.median),
            figure(ratio.base_median),
            ratio.ratio,
        ));
    }
    text.push_str(if comparison.validity.is_valid() { "  VALID\n" } else { "  INVALID\n" });
    for reason in &comparison.validity.reasons {
        text.push_str(&format!("    {reason}\n"));
    }
    text
}

/// A figure with as many digits as it deserves.
fn figure(value: f64) -> String {
    if value >= 100.0 { crate::lab::screen::grouped(value) } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::Measured;
    use crate::lab::result::tests::{sample_file, sample_run};

    fn brokers(second: Durability) -> Vec<Broker> {
        let file = sample_file(Measured::Run(sample_run()));
        let mut brokers = vec![file.brokers[0].clone(), file.brokers[0].clone()];
        brokers[1].name = "kafka".to_string();
        brokers[1].durability = second;
        brokers
    }

    fn run(broker: usize, records_per_s: f64) -> Run {
        let mut run = Run { broker, ..sample_run() };
        run.produced.as_mut().unwrap().records_per_s = records_per_s;
        run
    }

    #[test]
    fn unequal_durability_is_refused_unless_asked_for() {
        let unequal = brokers(Durability::PageCache);
        let refused = check(&unequal, false).unwrap_err().to_string();
        assert!(refused.contains("fsync before ack") && refused.contains("page cache"), "{refused}");
        assert!(check(&unequal, true).is_ok());
        assert!(check(&brokers(Durability::Unknown), false).is_err());
        assert!(check(&brokers(Durability::Fsync), false).is_ok());
        assert!(check_pairs(4).is_err() && check_pairs(5).is_ok());
        assert!(check(&brokers(Durability::Fsync)[..1], false).is_err());
        let comparison = compare(&unequal, vec![vec![run(0, 1.0), run(1, 1.0)]; 5], 5, 1);
        let text = table(&comparison, &unequal, &Scenario::named("x"));
        assert!(text.contains("DURABILITY IS NOT EQUAL"), "{text}");
        let rows: Vec<&str> = text.lines().filter(|line| line.contains(" / ")).collect();
        assert!(
            !rows.is_empty() && rows.iter().all(|row| row.contains("[page cache") && row.contains("[fsync")),
            "{text}"
        );
    }

    #[test]
    fn rounds_before_a_run_that_fails_are_kept_and_compared() {
        let stop = AtomicBool::new(false);
        let mut left = 4;
        let (kept, failed) = rounds(&orders(2, 5, 1), &stop, |_, place| {
            left -= 1;
            let gone = || LabError::Failed("the broker is gone".to_string());
            if left > 0 { Ok(run(place, 100.0 * (1 + place) as f64)) } else { Err(gone()) }
        });
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(failed.unwrap().to_string(), "the broker is gone");
        let comparison = compare(&brokers(Durability::Fsync), kept, 5, 1);
        assert_eq!(comparison.ratios[0].pairs, [2.0], "the whole round counts, the other one does not");
        assert!(comparison.validity.reasons.contains(&"only 1 of 5 rounds are complete".to_string()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(rounds(&orders(2, 5, 1), &stop, |_, place| Ok(run(place, 1.0))).0.len(), 1, "a signal ends it");
    }

    #[test]
    fn ratios_are_of_pairs() {
        // The machine slows down by half on the way: pairs do not care.
        let rounds = (0..6).map(|round| {
            let speed = if round < 3 { 1_000.0 } else { 500.0 };
            let mut runs = vec![run(0, speed), run(1, speed * 0.4)];
            if round % 2 == 1 {
                runs.reverse();
            }
            runs
        });
        let comparison = compare(&brokers(Durability::Fsync), rounds.collect(), 6, 1);
        let throughput = &comparison.ratios[0];
        assert_eq!((throughput.figure.as_str(), throughput.broker, throughput.base), ("produced records/s", 1, 0));
        assert!((throughput.ratio - 0.4).abs() < 1e-9 && (throughput.interval[0] - 0.4).abs() < 1e-9, "{throughput:?}");
        assert!(comparison.validity.is_valid() && !comparison.unequal_durability);
    }

    #[test]
    fn wide_spreads_and_missing_rounds_are_told() {
        let rounds = |speeds: &[f64]| speeds.iter().map(|&speed| vec![run(0, 1_000.0), run(1, speed)]).collect();
        let wild = compare(&brokers(Durability::Fsync), rounds(&[100.0, 900.0, 300.0, 2_000.0, 500.0]), 5, 1);
        assert!(wild.validity.reasons[0].contains("spread too widely"), "{:?}", wild.validity);
        let short = compare(&brokers(Durability::Fsync), rounds(&[100.0, 100.0]), 5, 1);
        assert!(short.ratios[0].pairs.len() == 2 && !short.validity.is_valid());
        assert!(
            short.validity.reasons.contains(&"only 2 of 5 rounds are complete".to_string()),
            "{:?}",
            short.validity
        );
    }

    #[test]
    fn every_round_has_every_broker_in_an_order_of_the_seed() {
        let all = orders(3, 20, 9);
        for order in &all {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
        assert!(all.iter().any(|order| order[0] != all[0][0]), "the order changes");
        assert_eq!(all, orders(3, 20, 9));
    }
}
