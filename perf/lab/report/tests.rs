//! Whole pages of made-up results, as awkward as real ones get. `cargo x report` looks at the same pages in a real browser: it
//! names a folder in CORETIDE_REPORT_PAGES, and they are written there.

use super::*;
use crate::lab::result::tests::sample_file;
use crate::lab::result::{
    Axis, Cell, Comparison, Durability, GeneratorUse, Interval, Knee, KneeStep, Latency, ProcessUse, Ratio,
    Recommendation, Run, Side, Sweep, Validity, new_histogram,
};
use crate::lab::scenario::Scenario;
use crate::lab::versus::{Aims, PLAIN, Pairing, ROWS, RawRow, RawSide, RawTable, RawTurn, Row, RowKind, SetAside};
use coretide_stdx::prng::Prng;
use std::collections::BTreeMap;
use std::path::Path;

/// A latency around a median with a long tail, in microseconds.
fn latency(rng: &mut Prng, median_us: f64) -> Latency {
    let mut values = new_histogram();
    for _ in 0..40_000 {
        let uniform = (rng.below(1_000_000) as f64 + 0.5) / 1e6;
        let us = median_us * (0.7 + 0.3 * (1.0 / (1.0 - uniform)).powf(0.7));
        values.saturating_record((us * 1e3) as u64);
    }
    Latency::new(&values)
}

fn side(rng: &mut Prng, mb_per_s: f64, median_us: f64) -> Side {
    let intervals = (0..30)
        .map(|second| {
            let wobble = 0.9 + rng.below(200) as f64 / 1e3;
            Interval {
                at_secs: f64::from(second),
                secs: 1.0,
                records_per_s: mb_per_s * 1e3 * wobble,
                bytes_per_s: mb_per_s * 1e6 * wobble,
                p50_us: Some(median_us * wobble),
                p99_us: (second != 3).then_some(median_us * 8.0 * wobble * wobble),
                max_us: Some(median_us * 40.0),
                broker_cores: Some(0.4),
            }
        })
        .collect();
    Side {
        records: 30_000,
        bytes: 30_000_000,
        batch_bytes: 31_000_000,
        batches: 3_000,
        requests: 1_500,
        errors: 0,
        error_names: BTreeMap::new(),
        retries: 0,
        records_per_s: mb_per_s * 1e3,
        bytes_per_s: mb_per_s * 1e6,
        requests_per_s: mb_per_s * 50.0,
        records_per_batch: 10.0,
        latency: latency(rng, median_us),
        service: latency(rng, median_us * 0.6),
        intervals,
    }
}

fn run(rng: &mut Prng, broker: usize, mb_per_s: f64, median_us: f64) -> Run {
    Run {
        broker,
        scenario: Scenario { description: "One that <b>nobody</b> has run.".to_string(), ..Scenario::named("made-up") },
        started_at_ms: 1_795_290_000_000,
        measured_secs: 30.0,
        produced: Some(side(rng, mb_per_s, median_us)),
        consumed: Some(side(rng, mb_per_s, median_us * 1.8)),
        broker_use: Some(ProcessUse {
            cpu_user_secs: 3.0,
            cpu_system_secs: 9.5,
            rss_bytes: 81_000_000,
            written_bytes: Some(1_200_000_000),
            read_bytes: Some(0),
            read_write_syscalls: None,
            voluntary_switches: 120_000,
            involuntary_switches: 9_000,
            disk_flushes: Some(31_000),
            cpu_secs_per_gb: Some(400.0 / mb_per_s),
            cpu_secs_per_million_records: Some(4.2),
        }),
        generator: GeneratorUse {
            cpu_secs: 11.0,
            busiest_thread: 0.61,
            lag: latency(rng, 40.0),
            late: latency(rng, 12.0),
            steal: Some(0.004),
            unsent_records: 0,
        },
        validity: Validity::new(Vec::new(), vec!["a remark".to_string()]),
    }
}

fn two_brokers(measured: Measured) -> ResultFile {
    let mut file = sample_file(measured);
    file.command = ["coretide", "bench", "it", "--name", "with blanks"].map(str::to_string).into();
    file.machine = crate::lab::machine::facts();
    let mut other = file.brokers[0].clone();
    other.name = "Apache Kafka 4.3.1".to_string();
    other.durability = Durability::PageCache;
    other.config = (0..300).map(|n| (format!("a.key.of.kafka.{n}"), Some("x".repeat(n)))).collect();
    file.brokers.push(other);
    file
}

fn one_run() -> ResultFile {
    two_brokers(Measured::Run(run(&mut Prng::new(1), 0, 120.0, 800.0)))
}

fn comparison() -> ResultFile {
    let mut rng = Prng::new(2);
    let mut rounds: Vec<Vec<Run>> =
        (0..5).map(|_| vec![run(&mut rng, 1, 40.0, 2_500.0), run(&mut rng, 0, 120.0, 800.0)]).collect();
    let why = "the generator woke up 12 ms late for one in a hundred records";
    rounds[2][0].validity = Validity::new(vec![why.to_string()], Vec::new());
    let ratio = |figure: &str, more_is_better: bool, ratio: f64| Ratio {
        figure: figure.to_string(),
        more_is_better,
        broker: 1,
        base: 0,
        median: ratio,
        base_median: 1.0,
        ratio,
        interval: [ratio * 0.93, ratio * 1.11],
        pairs: vec![ratio * 0.93, ratio, ratio, ratio * 1.02, ratio * 1.11],
    };
    let ratios =
        vec![ratio("records/s", true, 0.33), ratio("p99 µs", false, 3.1), ratio("broker CPU s/GB", false, 6.2)];
    let validity = Validity::new(vec!["round 3: a run is INVALID".to_string()], Vec::new());
    two_brokers(Measured::Compare(Comparison { seed: 9, unequal_durability: true, rounds, ratios, validity }))
}

fn swept() -> ResultFile {
    let mut rng = Prng::new(3);
    let axis = |name: &str, values: &[&str]| Axis {
        name: name.to_string(),
        values: values.iter().map(|value| (*value).to_string()).collect(),
    };
    let axes = vec![
        axis("batch.size", &["1024", "16384", "65536", "262144"]),
        axis("linger.ms", &["0", "1", "5", "20"]),
        axis("compression.type", &["none", "zstd"]),
    ];
    let mut cells = Vec::new();
    for (b, batch) in axes[0].values.iter().enumerate() {
        for (l, linger) in axes[1].values.iter().enumerate() {
            for (c, compression) in axes[2].values.iter().enumerate() {
                let mb_per_s = 20.0 * (1 + b) as f64 * (1.0 + l as f64 * 0.3) / (1 + c) as f64;
                let mut run = run(&mut rng, 0, mb_per_s, 300.0 + 400.0 * (b * l) as f64);
                if b == 3 && l == 0 {
                    run.validity = Validity::new(vec!["requests failed".to_string()], Vec::new());
                }
                let settings = [("batch.size", batch), ("linger.ms", linger), ("compression.type", compression)];
                let settings = settings.map(|(name, value)| (name.to_string(), value.clone())).into();
                cells.push(Cell { settings, run });
            }
        }
    }
    let recommendation = |aim: &str, cell: Option<usize>| Recommendation {
        aim: aim.to_string(),
        cell,
        because: "It has the most throughput of those within the bound.".to_string(),
        config_lines: vec!["batch.size=65536".to_string(), "linger.ms=1".to_string()],
    };
    let recommendations = vec![recommendation("p99 below 10 ms", Some(12)), recommendation("at most 5 % CPU", None)];
    let sweep = Sweep { design: "grid".to_string(), axes, cells, pareto: vec![0, 2, 10, 20, 30], recommendations };
    let mut file = two_brokers(Measured::Sweep(sweep));
    file.complete = false;
    file
}

fn knee() -> ResultFile {
    let mut rng = Prng::new(4);
    let mut step = |rate: f64, median_us: f64, within: bool| KneeStep {
        rate,
        within,
        runs: (0..3).map(|n| run(&mut rng, 0, rate / 1e3, median_us * (1.0 + f64::from(n) * 0.1))).collect(),
    };
    let steps = vec![
        step(10_000.0, 500.0, true),
        step(40_000.0, 9_000.0, false),
        step(20_000.0, 700.0, true),
        step(30_000.0, 1_100.0, true),
    ];
    two_brokers(Measured::Knee(Knee { p99_below_ms: 10.0, steps, rate: Some(30_000.0), rate_above: Some(40_000.0) }))
}

fn versus() -> ResultFile {
    let mut rng = Prng::new(5);
    let raw_side = |name: &str, broker: usize, durability: &str| RawSide {
        name: name.to_string(),
        broker,
        durability: durability.to_string(),
        topic_config: BTreeMap::new(),
    };
    let sides = vec![
        raw_side("coretide", 0, "fsync before ack"),
        raw_side("Apache Kafka 4.3.1", 1, "page cache: ack before the disk has it"),
        raw_side("Apache Kafka 4.3.1", 1, "fsync before ack"),
    ];
    let pairing = |base: usize, equal_durability: bool, aims: Aims| {
        (Pairing { side: 0, base, equal_durability, question: "which one?".to_string() }, aims)
    };
    let pairings = vec![pairing(1, false, Aims::AsItComes), pairing(2, true, Aims::BothFsync)];
    let rows = ROWS
        .iter()
        .enumerate()
        .map(|(place, row)| {
            let mut turns =
                [1.0, 0.35, 0.06].map(|speed| (0..5).map(|_| turn(&mut rng, row, speed)).collect::<Vec<_>>());
            if row.once {
                turns[2].clear();
            }
            let mut raw = RawRow {
                name: row.name.to_string(),
                settings: row.settings(),
                rate: row.rate(),
                counts_bytes: row.counts_bytes(),
                kind: row.kind(),
                not_run: None,
                turns: turns.into(),
                set_aside: Vec::new(),
                ratios: Vec::new(),
                validity: Validity::new(Vec::new(), Vec::new()),
            };
            if place == 3 {
                raw.turns[1][2].errors = 7;
                let turn = RawTurn { others_cores: 0.3, errors: 2, ..raw.turns[0][1].clone() };
                raw.set_aside.push(SetAside { round: 1, side: 0, why: turn.disturbed().unwrap(), turn });
            }
            if place == ROWS.len() - 1 {
                raw.turns.iter_mut().for_each(Vec::clear);
                raw.not_run = Some("not run: python3 is not installed".to_string());
            }
            raw.judged(row, &sides, &pairings, 1)
        })
        .collect();
    two_brokers(Measured::Raw(RawTable {
        seed: 1,
        rounds: 5,
        secs: 10.0,
        warmed_up_secs: vec![10.0, 60.5],
        volume_gb: 5.0,
        backlog_gb: 3.0,
        sides,
        pairings: pairings.into_iter().map(|(pairing, _)| pairing).collect(),
        rows,
    }))
}

fn turn(rng: &mut Prng, row: &Row, speed: f64) -> RawTurn {
    let wobble = speed * (0.92 + rng.below(160) as f64 / 1e3);
    RawTurn {
        started_at_ms: 1,
        place: 0,
        secs: 10.0,
        requests: (900_000.0 * wobble) as u64,
        bytes: (930_000_000.0 * wobble) as u64,
        errors: 0,
        latency: latency(rng, 600.0 / wobble),
        alone: (row.kind() == RowKind::Backlog).then(|| latency(rng, 580.0 / speed)),
        from_disk: None,
        unpacked: row.codec().map(|codec| 1.0 + f64::from(codec.id())),
        cpu_secs: Some(12.0),
        rss_bytes: Some(100_000_000),
        steal_percent: 0.2,
        others_cores: 0.01,
    }
}

fn all() -> [(&'static str, ResultFile); 5] {
    [("run", one_run()), ("compare", comparison()), ("sweep", swept()), ("knee", knee()), ("versus", versus())]
}

#[test]
fn every_kind_of_result_becomes_a_page_that_needs_nothing_else() {
    let pages = std::env::var_os("CORETIDE_REPORT_PAGES");
    for (name, file) in all() {
        let html = html(&[(name, &file)]).unwrap();
        for outside in ["src=", "@import", "url(", "<script src"] {
            assert!(!html.contains(outside), "{name} has {outside}");
        }
        assert_eq!(html.matches("href=").count(), 1, "{name}: the empty icon only");
        assert!(!html.contains("<b>nobody</b>"), "{name}: text of a result became markup");
        assert!(html.contains("fsync before ack") && html.contains("prefers-color-scheme: dark"), "{name}");
        assert!(
            html.contains("--name &#39;with blanks&#39;") && html.contains("a.key.of.kafka.299"),
            "{name}: command and configs are told"
        );
        assert_eq!(html.matches("<svg ").count(), html.matches("class=\"chart ").count(), "{name}");
        assert!(
            html.matches("<figure>").count() <= html.matches("<table").count() * 4,
            "{name}: tables beside pictures"
        );
        if let Some(folder) = &pages {
            std::fs::write(Path::new(folder).join(format!("{name}.html")), html).unwrap();
        }
    }
}

#[test]
fn what_is_invalid_unequal_or_incomplete_says_so() {
    let page = |file: &ResultFile| html(&[("x", file)]).unwrap();
    let compared = page(&comparison());
    assert!(compared.contains("INVALID") && compared.contains("12 ms late"));
    assert!(compared.matches("UNEQUAL durability").count() >= 5, "in every picture and table");
    assert!(!page(&one_run()).contains("UNEQUAL"));
    let swept = page(&swept());
    assert!(swept.contains("INCOMPLETE") && swept.contains("NOTHING FULFILS IT") && swept.contains("batch.size=65536"));
    let versus = page(&versus());
    assert!(versus.contains("Compressed batches") && versus.contains("compression gzip, batches of 16 KiB"));
    assert!(versus.contains("measured again: 1; in the first of them other processes used 0.3 cores"));
    assert!(versus.contains("2 requests failed"), "in a turn that does not count, too");
    assert!(versus.contains("7 requests failed") && versus.contains("missed") && versus.contains("reached"));
}

#[test]
fn what_codecs_cost_is_told_against_plain_batches_of_the_same_rounds() {
    let Measured::Raw(mut table) = versus().measured else { panic!("versus makes a raw table") };
    for row in table.rows.iter_mut().filter(|row| row.kind == RowKind::Packed) {
        for (round, turn) in row.turns[0].iter_mut().enumerate() {
            // Each round is half as fast as the one before; zstd costs 1.5 of plain, and unpacks to 5.
            let costs = if row.name.contains("zstd") { 1.5 } else { 1.0 };
            (turn.bytes, turn.cpu_secs) = (1_000_000, Some(costs * f64::from(1 << round)));
        }
    }
    let costs = table.codec_costs();
    let zstd = costs.iter().find(|cost| cost.side == 0 && cost.row.contains("zstd")).unwrap();
    assert_eq!((zstd.per_gb.ratio, zstd.per_gb.interval), (1.5, [1.5, 1.5]));
    assert!((zstd.per_unpacked_gb.ratio - 0.3).abs() < 1e-9 && zstd.unpacked == 5.0, "{zstd:?}");
    assert_eq!(
        costs.len(),
        4 * 2,
        "lz4, zstd, gzip, and lz4 by header only on both sides of the first comparison, and plain is what they are told by"
    );
    let plain = table.rows.iter_mut().find(|row| row.name == PLAIN).unwrap();
    plain.turns[0][1].cpu_secs = None;
    assert!(table.codec_costs().iter().all(|cost| cost.side == 1), "nothing is told of CPU that is not known");
}

#[test]
fn results_without_figures_become_pages_too() {
    let nothing = Sweep {
        design: "grid".to_string(),
        axes: Vec::new(),
        cells: Vec::new(),
        pareto: Vec::new(),
        recommendations: Vec::new(),
    };
    let empty_knee = Knee { p99_below_ms: 1.0, steps: Vec::new(), rate: None, rate_above: None };
    let validity = Validity::new(vec!["no round is whole".to_string()], Vec::new());
    let none = Comparison { seed: 1, unequal_durability: false, rounds: Vec::new(), ratios: Vec::new(), validity };
    for measured in [
        Measured::Sweep(nothing),
        Measured::Knee(empty_knee),
        Measured::Compare(none),
        Measured::Raw(RawTable::default()),
    ] {
        html(&[("x", &two_brokers(measured))]).unwrap();
    }
}

#[test]
fn a_picture_alone_names_both_sides_over_each_part_and_brings_its_colours() {
    let file = versus();
    let svg = picture(&file).unwrap();
    let Measured::Raw(table) = &file.measured else { panic!("it is one") };
    let parts = svg.matches("<g transform=").count();
    assert_eq!(parts, 1 + table.pairings.len(), "throughput of each pairing, the CPU of the first");
    assert_eq!(svg.matches("Throughput (more is better)").count(), table.pairings.len());
    assert_eq!(svg.matches("Broker CPU for the same work").count(), 1);
    assert_eq!(svg.matches("Equal durability: ").count() + svg.matches("UNEQUAL durability: ").count(), parts);
    assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("svg text {") && !svg.contains(".badge"));
    assert_eq!((svg.matches("<svg ").count(), svg.matches("</svg>").count()), (1, 1));
    assert!(!svg.contains("<b>nobody</b>"), "text of a result became markup");
    let other = picture(&one_run()).unwrap_err();
    assert!(other.contains("bench versus"), "{other}");
    let empty = picture(&two_brokers(Measured::Raw(RawTable::default()))).unwrap_err();
    assert!(empty.contains("no ratio"), "{empty}");
}

#[test]
fn several_results_share_a_page() {
    let (run, knee) = (one_run(), knee());
    let page = html(&[("a.json", &run), ("b.json", &knee)]).unwrap();
    assert!(page.contains("a.json") && page.contains("b.json") && page.contains("2 results"));
}

#[test]
fn command_lines_can_be_typed_again() {
    let words = ["coretide", "bench", "versus", "kafka", "--row", "1 KiB, it's"].map(str::to_string);
    assert_eq!(typed(&words), r"coretide bench versus kafka --row '1 KiB, it'\''s'");
}
