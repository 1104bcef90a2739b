//! `bench sweep`: many settings of a client on one broker, what is best among them, and what to write into the client's
//! config file.
//! Must never touch: how a run is measured.

use crate::lab::engine::{self, Watch};
use crate::lab::error::LabError;
use crate::lab::result::{Axis, Broker, Cell, Recommendation, Run, Sweep};
use crate::lab::scenario::Scenario;
use crate::lab::screen::{grouped, time};
use crate::lab::{check, result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// More combinations than this are not looked at.
const COMBINATIONS_MAX: usize = 20_000;
/// The settings that can be varied, by Kafka's names.
pub const SETTINGS: [&str; 6] =
    ["batch.size", "linger.ms", "acks", "compression.type", "max.in.flight.requests.per.connection", "partitions"];

/// How combinations are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Design {
    /// Every combination
    Grid,
    /// Few combinations: every pair of values of two settings at least once
    Pairwise,
}

/// What a sweep is to find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// The most throughput with a p99 below so many milliseconds.
    P99BelowMs(f64),
    /// The most throughput with at most so many percent of a core used by the broker.
    CpuAtMostPercent(f64),
    /// The most throughput.
    MostThroughput,
}

impl Aim {
    fn words(self) -> String {
        match self {
            Aim::P99BelowMs(ms) => format!("p99 below {ms} ms"),
            Aim::CpuAtMostPercent(percent) => format!("at most {percent} % CPU"),
            Aim::MostThroughput => "most throughput".to_string(),
        }
    }

    fn is_met(self, run: &Run) -> bool {
        match self {
            Aim::P99BelowMs(ms) => p99_us(run) < ms * 1e3,
            Aim::CpuAtMostPercent(percent) => cpu_percent(run).is_some_and(|used| used <= percent),
            Aim::MostThroughput => true,
        }
    }
}

/// Combinations of the axes' values, each as places in `values`.
pub fn combinations(axes: &[Axis], design: Design) -> Result<Vec<Vec<usize>>, LabError> {
    let count = axes.iter().try_fold(1usize, |product, axis| product.checked_mul(axis.values.len()));
    let count = count
        .filter(|&count| count <= COMBINATIONS_MAX)
        .ok_or_else(|| LabError::Usage(format!("more than {COMBINATIONS_MAX} combinations: name fewer values")))?;
    let all: Vec<Vec<usize>> = (0..count)
        .map(|mut number| {
            let mut places = vec![0; axes.len()];
            for (place, axis) in axes.iter().enumerate().rev() {
                places[place] = number % axis.values.len();
                number /= axis.values.len();
            }
            places
        })
        .collect();
    Ok(if design == Design::Grid { all } else { pairwise(all) })
}

/// Takes, again and again, the combination that has most pairs of values not seen yet.
fn pairwise(all: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let pairs_of = |places: &Vec<usize>| {
        let mut pairs = Vec::new();
        for a in 0..places.len() {
            for b in a + 1..places.len() {
                pairs.push((a, places[a], b, places[b]));
            }
        }
        pairs
    };
    if all.first().is_none_or(|places| places.len() < 2) {
        return all;
    }
    let mut open: BTreeSet<(usize, usize, usize, usize)> = all.iter().flat_map(pairs_of).collect();
    let mut chosen = Vec::new();
    while !open.is_empty() {
        let fresh = |places: &Vec<usize>| pairs_of(places).iter().filter(|pair| open.contains(pair)).count();
        // The first of the best: the order follows from the axes alone.
        let mut best = &all[0];
        let mut best_fresh = 0;
        for places in &all {
            let count = fresh(places);
            if count > best_fresh {
                (best, best_fresh) = (places, count);
            }
        }
        pairs_of(best).iter().for_each(|pair| {
            open.remove(pair);
        });
        chosen.push(best.clone());
    }
    chosen
}

/// A scenario with some settings changed.
pub fn apply(scenario: &Scenario, settings: &BTreeMap<String, String>) -> Result<Scenario, LabError> {
    let mut changed = scenario.clone();
    let client = &mut changed.producers.client;
    for (name, value) in settings {
        let wrong = || LabError::Usage(format!("'{value}' is no value of {name}"));
        let word = || serde_json::Value::String(value.clone());
        match name.as_str() {
            "batch.size" => client.batch_size = value.parse().map_err(|_| wrong())?,
            "linger.ms" => client.linger_ms = value.parse().map_err(|_| wrong())?,
            "acks" => client.acks = serde_json::from_value(word()).map_err(|_| wrong())?,
            "compression.type" => client.compression_type = serde_json::from_value(word()).map_err(|_| wrong())?,
            "max.in.flight.requests.per.connection" => client.max_in_flight = value.parse().map_err(|_| wrong())?,
            "partitions" => changed.topic.partitions = value.parse().map_err(|_| wrong())?,
            other => return Err(LabError::Usage(format!("{other} cannot be varied: {}", SETTINGS.join(", ")))),
        }
    }
    // As in Kafka, idempotence goes with acks=all and at most five in flight.
    let may_be_idempotent = client.acks == crate::lab::scenario::Acks::All && client.max_in_flight <= 5;
    client.enable_idempotence &= may_be_idempotent;
    match check::problems(&changed).first() {
        Some(problem) => Err(LabError::Usage(problem.to_string())),
        None => Ok(changed),
    }
}

/// The settings of a combination.
fn settings_of(axes: &[Axis], places: &[usize]) -> BTreeMap<String, String> {
    axes.iter().zip(places).map(|(axis, &place)| (axis.name.clone(), axis.values[place].clone())).collect()
}

/// Measures every combination. A signal ends it after the cell that it interrupts, which is not kept; a run that fails ends it with
/// the cells so far and why, and only if there are none, all of it fails.
pub fn measure(
    broker: &Broker,
    scenario: &Scenario,
    axes: Vec<Axis>,
    design: Design,
    aims: &[Aim],
    stop: &Arc<AtomicBool>,
    mut watch: impl FnMut(usize, usize, &str) -> Box<dyn Watch>,
) -> Result<(Sweep, Option<LabError>), LabError> {
    let chosen = combinations(&axes, design)?;
    let scenarios: Result<Vec<_>, LabError> = chosen
        .iter()
        .map(|places| {
            let settings = settings_of(&axes, places);
            Ok((apply(scenario, &settings)?, settings))
        })
        .collect();
    let scenarios = scenarios?;
    let (cells, failed) = cells(&scenarios, stop, |place, scenario, settings| {
        let words: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        engine::run(broker, 0, scenario, stop, watch(place, scenarios.len(), &words.join(" ")).as_mut())
    });
    let failed = match failed {
        Some(failed) if cells.is_empty() => return Err(failed),
        failed => failed,
    };
    let recommendations = aims.iter().map(|&aim| recommend(&cells, aim)).collect();
    let design = if design == Design::Grid { "grid" } else { "pairwise" };
    Ok((Sweep { design: design.to_string(), axes, pareto: pareto(&cells), cells, recommendations }, failed))
}

/// The cells that were measured, and what ended them early.
fn cells(
    scenarios: &[(Scenario, BTreeMap<String, String>)],
    stop: &AtomicBool,
    mut run: impl FnMut(usize, &Scenario, &BTreeMap<String, String>) -> Result<Run, LabError>,
) -> (Vec<Cell>, Option<LabError>) {
    let mut cells = Vec::new();
    for (place, (scenario, settings)) in scenarios.iter().enumerate() {
        match run(place, scenario, settings) {
            Err(failed) => return (cells, Some(failed)),
            Ok(_) if stop.load(Ordering::Relaxed) => break,
            Ok(run) => cells.push(Cell { settings: settings.clone(), run }),
        }
    }
    (cells, None)
}

/// Why nothing follows from a sweep that was measured, if it is so.
pub fn undecided(sweep: &Sweep) -> Option<String> {
    let none = sweep.cells.iter().all(|cell| !cell.run.validity.is_valid());
    (none && !sweep.cells.is_empty()).then(|| "not one combination gave a VALID run".to_string())
}

fn throughput(run: &Run) -> f64 {
    run.produced.as_ref().map_or(0.0, |side| side.records_per_s)
}

/// The p99 that counts: end to end where records are consumed, else to the acknowledgement.
pub fn p99_us(run: &Run) -> f64 {
    let end_to_end = run.consumed.as_ref().filter(|side| side.latency.count > 0);
    end_to_end.or(run.produced.as_ref()).map_or(f64::INFINITY, |side| side.latency.p99_us)
}

fn cpu_percent(run: &Run) -> Option<f64> {
    let used: &result::ProcessUse = run.broker_use.as_ref()?;
    Some((used.cpu_user_secs + used.cpu_system_secs) / run.measured_secs * 100.0)
}

/// Cells that no other valid one beats in throughput and p99 both, by rising throughput.
fn pareto(cells: &[Cell]) -> Vec<usize> {
    let valid: Vec<usize> = (0..cells.len()).filter(|&place| cells[place].run.validity.is_valid()).collect();
    let beats = |a: &Run, b: &Run| {
        throughput(a) >= throughput(b)
            && p99_us(a) <= p99_us(b)
            && (throughput(a) > throughput(b) || p99_us(a) < p99_us(b))
    };
    let mut front: Vec<usize> = valid
        .iter()
        .copied()
        .filter(|&place| !valid.iter().any(|&other| beats(&cells[other].run, &cells[place].run)))
        .collect();
    front.sort_by(|&a, &b| throughput(&cells[a].run).total_cmp(&throughput(&cells[b].run)));
    front
}

fn recommend(cells: &[Cell], aim: Aim) -> Recommendation {
    let valid: Vec<usize> = (0..cells.len()).filter(|&place| cells[place].run.validity.is_valid()).collect();
    let mut meet: Vec<usize> = valid.iter().copied().filter(|&place| aim.is_met(&cells[place].run)).collect();
    // The most throughput; of two alike within 1 % the lower p99 (which a fixed rate makes the rule).
    let rank = |place: usize| ((throughput(&cells[place].run) * 0.01).max(1e-9).ln() * 100.0).round();
    meet.sort_by(|&a, &b| rank(b).total_cmp(&rank(a)).then(p99_us(&cells[a].run).total_cmp(&p99_us(&cells[b].run))));
    let Some(&best) = meet.first() else {
        let because = match (valid.is_empty(), aim) {
            (true, _) => "No combination gave a VALID run.".to_string(),
            (false, Aim::CpuAtMostPercent(_)) if cells.iter().all(|cell| cell.run.broker_use.is_none()) => {
                "The broker's CPU is not known: its process is not on this machine.".to_string()
            }
            (false, Aim::P99BelowMs(_)) => {
                let least = valid.iter().map(|&place| p99_us(&cells[place].run)).fold(f64::INFINITY, f64::min);
                format!("No combination fulfils it: the lowest p99 was {}.", time(least))
            }
            (false, _) => "No combination fulfils it.".to_string(),
        };
        return Recommendation { aim: aim.words(), cell: None, because, config_lines: Vec::new() };
    };
    let run = &cells[best].run;
    let cpu = cpu_percent(run).map_or(String::new(), |used| format!(", broker CPU {used:.0} % of a core"));
    let mut because = format!(
        "{} of {} combinations are VALID, {} fulfil it; of these this one has the most throughput (within 1 % the lowest \
         p99): {} records/s, p99 {}{cpu}.",
        valid.len(),
        cells.len(),
        meet.len(),
        grouped(throughput(run)),
        time(p99_us(run))
    );
    if let Some(&next) = meet.get(1) {
        let other = &cells[next];
        let words: Vec<String> = other.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        because.push_str(&format!(
            " Next is {} with {} records/s, p99 {}.",
            words.join(" "),
            grouped(throughput(&other.run)),
            time(p99_us(&other.run))
        ));
    }
    Recommendation { aim: aim.words(), cell: Some(best), because, config_lines: config_lines(&cells[best].settings) }
}

fn config_lines(settings: &BTreeMap<String, String>) -> Vec<String> {
    let line = |(name, value): (&String, &String)| match name.as_str() {
        "partitions" => format!("# the topic's partitions: {value}"),
        _ => format!("{name}={value}"),
    };
    settings.iter().map(line).collect()
}

/// The sweep as a table, with what it recommends.
pub fn table(sweep: &Sweep, broker: &Broker) -> String {
    let mut text =
        format!("{} at {} ({}), {} design\n", broker.name, broker.address, broker.durability.words(), sweep.design);
    for (place, cell) in sweep.cells.iter().enumerate() {
        let words: Vec<String> = cell.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cpu = cpu_percent(&cell.run).map_or(String::new(), |used| format!(", CPU {used:.0} %"));
        text.push_str(&format!(
            "  {} {:>11} records/s, p99 {:>8}{cpu}  {}{}\n",
            if sweep.pareto.contains(&place) { "*" } else { " " },
            grouped(throughput(&cell.run)),
            time(p99_us(&cell.run)),
            words.join(" "),
            if cell.run.validity.is_valid() { "" } else { "  INVALID" }
        ));
        for reason in &cell.run.validity.reasons {
            text.push_str(&format!("      {reason}\n"));
        }
    }
    text.push_str("  * nothing measured beats it in both throughput and p99\n");
    for recommendation in &sweep.recommendations {
        text.push_str(&format!("\n{}: {}\n", recommendation.aim, recommendation.because));
        recommendation.config_lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
