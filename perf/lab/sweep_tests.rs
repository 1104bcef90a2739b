//! Designs, fronts and recommendations, from made-up runs.

use super::*;
use crate::lab::result::tests::sample_run;
use crate::lab::scenario::{Acks, CompressionType};

fn axis(name: &str, values: &[&str]) -> Axis {
    Axis { name: name.to_string(), values: values.iter().map(|value| value.to_string()).collect() }
}

fn cell(linger: &str, records_per_s: f64, p99_us: f64) -> Cell {
    let mut run = sample_run();
    let side = run.produced.as_mut().unwrap();
    side.records_per_s = records_per_s;
    side.latency.p99_us = p99_us;
    Cell { settings: BTreeMap::from([("linger.ms".to_string(), linger.to_string())]), run }
}

#[test]
fn a_grid_has_every_combination_and_pairwise_every_pair() {
    let axes =
        [axis("a", &["1", "2", "3"]), axis("b", &["1", "2", "3"]), axis("c", &["1", "2", "3"]), axis("d", &["1", "2"])];
    let grid = combinations(&axes, Design::Grid).unwrap();
    assert_eq!(grid.len(), 54);
    assert_eq!(grid.iter().collect::<BTreeSet<_>>().len(), 54);
    let few = combinations(&axes, Design::Pairwise).unwrap();
    assert!(few.len() <= 14, "{}", few.len());
    for a in 0..4 {
        for b in a + 1..4 {
            let pairs: BTreeSet<(usize, usize)> = few.iter().map(|places| (places[a], places[b])).collect();
            assert_eq!(pairs.len(), axes[a].values.len() * axes[b].values.len(), "settings {a} and {b}");
        }
    }
    assert_eq!(combinations(&axes[..1], Design::Pairwise).unwrap().len(), 3);
    let wide: Vec<Axis> = (0..6).map(|_| axis("x", &["1"; 9])).collect();
    assert!(combinations(&wide, Design::Grid).is_err());
}

#[test]
fn settings_change_the_scenario_or_are_refused() {
    let of = |name: &str, value: &str| {
        apply(&Scenario::named("x"), &BTreeMap::from([(name.to_string(), value.to_string())]))
    };
    assert_eq!(of("batch.size", "100").unwrap().producers.client.batch_size, 100);
    assert_eq!(of("partitions", "7").unwrap().topic.partitions, 7);
    assert_eq!(of("compression.type", "lz4").unwrap().producers.client.compression_type, CompressionType::Lz4);
    let leader = of("acks", "1").unwrap().producers.client;
    assert_eq!((leader.acks, leader.enable_idempotence), (Acks::Leader, false));
    for (name, value) in [("batch.size", "big"), ("acks", "2"), ("color", "red"), ("partitions", "0")] {
        assert!(of(name, value).is_err(), "{name}={value}");
    }
}

#[test]
fn the_front_is_what_nothing_beats() {
    let mut cells = vec![
        cell("0", 1_000.0, 1_000.0),
        cell("1", 2_000.0, 3_000.0),
        cell("2", 1_500.0, 5_000.0),
        cell("3", 500.0, 500.0),
        cell("4", 9_000.0, 100.0),
    ];
    cells[4].run.validity = crate::lab::result::Validity::new(vec!["late".to_string()], Vec::new());
    assert_eq!(pareto(&cells), [3, 0, 1], "by throughput; an INVALID run beats nobody");
}

#[test]
fn recommendations_have_reasons_and_lines_to_paste() {
    let cells = [cell("0", 1_000.0, 900.0), cell("5", 2_000.0, 9_000.0), cell("9", 2_001.0, 20_000.0)];
    let best = recommend(&cells, Aim::P99BelowMs(1.0));
    assert_eq!((best.cell, best.config_lines), (Some(0), vec!["linger.ms=0".to_string()]));
    let most = recommend(&cells, Aim::MostThroughput);
    assert_eq!(most.cell, Some(1), "2,000 and 2,001 are alike: the lower p99 decides");
    assert!(
        most.because.contains("2,000 records/s") && most.because.contains("Next is linger.ms=9"),
        "{}",
        most.because
    );
    let none = recommend(&cells, Aim::P99BelowMs(0.5));
    assert!(none.cell.is_none() && none.because.contains("lowest p99 was 900 µs"), "{}", none.because);
    let unknown = recommend(&cells, Aim::CpuAtMostPercent(50.0));
    assert!(unknown.because.contains("not on this machine"), "{}", unknown.because);
}

#[test]
fn what_was_measured_before_a_run_fails_is_kept() {
    let scenarios: Vec<_> =
        ["0", "1", "2"].map(|linger| (Scenario::named(linger), cell(linger, 1.0, 1.0).settings)).into();
    let stop = AtomicBool::new(false);
    let (kept, failed) = cells(&scenarios, &stop, |place, _, _| {
        if place < 2 { Ok(sample_run()) } else { Err(LabError::Failed("the broker is gone".to_string())) }
    });
    assert_eq!(kept.len(), 2);
    assert_eq!(failed.unwrap().to_string(), "the broker is gone");
    stop.store(true, Ordering::Relaxed);
    assert!(
        cells(&scenarios, &stop, |_, _, _| Ok(sample_run())).0.is_empty(),
        "the cell that a signal cut short is not kept"
    );
}

#[test]
fn a_sweep_without_a_valid_run_decides_nothing() {
    let mut invalid = cell("1", 1.0, 1.0);
    invalid.run.validity = crate::lab::result::Validity::new(vec!["late".to_string()], Vec::new());
    let sweep = |cells: Vec<Cell>| Sweep {
        design: "grid".to_string(),
        axes: Vec::new(),
        pareto: Vec::new(),
        cells,
        recommendations: Vec::new(),
    };
    assert!(undecided(&sweep(vec![invalid.clone()])).unwrap().contains("not one combination"));
    assert_eq!(undecided(&sweep(vec![invalid, cell("0", 1.0, 1.0)])), None);
    assert_eq!(undecided(&sweep(Vec::new())), None, "a signal came first");
}
