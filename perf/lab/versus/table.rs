//! What was measured with raw frames: one side after the other, round by round, and the ratios that follow from it. Part of
//! the result file.
//! Must never touch: how it was measured.

use super::rows::{Bounds, FROM_DISK_FROM, HOLDS_FROM, PENALTY, PLAIN, Row};
use crate::lab::result::{Latency, Validity};
use crate::lab::versus::paired::{Paired, paired};
use crate::stats::median;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawTable {
    /// Where the shuffling of the order began.
    pub seed: u64,
    /// How many rounds were asked for.
    pub rounds: usize,
    /// Measured seconds of each turn, at least.
    pub secs: f64,
    /// How long each broker was under load before the first turn, by its place in the result file, in seconds.
    pub warmed_up_secs: Vec<f64>,
    /// What a turn of the row by volume wrote at least, in 10^9 bytes.
    #[serde(default)]
    pub volume_gb: f64,
    /// The backlog that was drained, in 10^9 bytes.
    #[serde(default)]
    pub backlog_gb: f64,
    /// Who was measured.
    pub sides: Vec<RawSide>,
    /// Which sides are put against each other.
    pub pairings: Vec<Pairing>,
    /// The loads.
    pub rows: Vec<RawRow>,
}

/// A broker with the configs that decide when it acknowledges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawSide {
    /// What it is called.
    pub name: String,
    /// The broker's place in the result file.
    pub broker: usize,
    /// What is safe when it acknowledges, in words.
    pub durability: String,
    /// Configs of its topics.
    pub topic_config: BTreeMap<String, String>,
}

/// Two sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pairing {
    /// The side above the line.
    pub side: usize,
    /// The side below it.
    pub base: usize,
    /// False where one of them promises more than the other: every table and picture must say so.
    pub equal_durability: bool,
    /// What this pairing asks.
    pub question: String,
}

/// One load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawRow {
    /// Its name.
    pub name: String,
    /// What its clients do.
    pub settings: String,
    /// The rate it asks for, if it does not go as fast as it can.
    pub rate: Option<f64>,
    /// True where throughput is told in MB/s, and CPU per GB.
    pub counts_bytes: bool,
    /// What its figures are.
    #[serde(default)]
    pub kind: RowKind,
    /// Why nothing more was measured, if it failed or could not be run here.
    #[serde(default)]
    pub not_run: Option<String>,
    /// The turns of each side, in the order of the rounds; none for a side that this row has nothing to ask of.
    pub turns: Vec<Vec<RawTurn>>,
    /// Turns that were measured again because somebody else used the machine meanwhile; no figure knows them.
    #[serde(default)]
    pub set_aside: Vec<SetAside>,
    /// Figure by figure, pairing by pairing.
    pub ratios: Vec<RawRatio>,
    /// Whether it may be believed.
    pub validity: Validity,
}

/// What the figures of a row are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// Requests and responses.
    #[default]
    Frames,
    /// Throughput is the backlog's, latency the producers'.
    Backlog,
    /// As of frames, in few short turns; what a codec costs the broker.
    Packed,
    /// What a real client says of itself.
    Client,
}

/// One side, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawTurn {
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Its place in its round, from 0.
    pub place: usize,
    /// Measured seconds.
    pub secs: f64,
    /// Responses (records, from end to end) without an error.
    pub requests: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// Responses with an error.
    pub errors: u64,
    /// Latency from the send, or from the intended time in open loop.
    pub latency: Latency,
    /// Latency of the same requests before the backlog was drained.
    #[serde(default)]
    pub alone: Option<Latency>,
    /// How much of the backlog came from the disk: 1 for all of it.
    #[serde(default)]
    pub from_disk: Option<f64>,
    /// What its batches would take unpacked by what they take, where the row is about codecs.
    #[serde(default)]
    pub unpacked: Option<f64>,
    /// The broker's CPU seconds in the measured time; none where its process is not known.
    pub cpu_secs: Option<f64>,
    /// The broker's resident memory at the end.
    pub rss_bytes: Option<u64>,
    /// The machine's CPU taken by others on its host, in percent.
    pub steal_percent: f64,
    /// Cores used in user mode by processes that are neither the broker nor the bench.
    pub others_cores: f64,
}

/// A turn that does not count, and is kept for who wants to look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    /// Its round, from 0.
    pub round: usize,
    /// Its place in [`RawTable::sides`].
    pub side: usize,
    /// Why.
    pub why: String,
    /// What it measured.
    pub turn: RawTurn,
}

impl RawTurn {
    /// Who else used the machine meanwhile, if so much that the turn may not be believed. What the turn measured has no say.
    pub fn disturbed(&self) -> Option<String> {
        if self.steal_percent > STEAL_MAX_PERCENT {
            return Some(format!("the machine lost {:.0} % of its CPU to others on its host", self.steal_percent));
        }
        (self.others_cores > OTHERS_MAX_CORES).then(|| format!("other processes used {:.1} cores", self.others_cores))
    }

    /// Responses per second.
    pub fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.secs
    }

    /// 10^6 bytes of batches per second.
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / self.secs / 1e6
    }

    /// The broker's CPU time per request in microseconds.
    pub fn cpu_us_per_request(&self) -> Option<f64> {
        self.cpu_secs.map(|cpu| cpu * 1e6 / self.requests as f64)
    }

    /// The broker's CPU seconds per 10^9 bytes of batches.
    pub fn cpu_secs_per_gb(&self) -> Option<f64> {
        self.cpu_secs.map(|cpu| cpu * 1e9 / self.bytes as f64)
    }

    /// The broker's CPU seconds per 10^9 bytes of what the batches unpack to, where that is known.
    pub fn cpu_secs_per_unpacked_gb(&self) -> Option<f64> {
        Some(self.cpu_secs_per_gb()? / self.unpacked?)
    }
}

/// A figure of one side by the same of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawRatio {
    /// The place in [`RawTable::pairings`].
    pub pairing: usize,
    /// What is compared, with its unit.
    pub figure: String,
    /// True if more is better.
    pub more_is_better: bool,
    /// The median of the side's values.
    pub median: f64,
    /// The median of the base's values.
    pub base_median: f64,
    /// Median of the paired ratios, its interval, and the ratios.
    #[serde(flatten)]
    pub paired: Paired,
    /// True where the aim is about the side's own value, not about the ratio.
    #[serde(default)]
    pub of_itself: bool,
    /// What the ratio (or the side's own value) is to reach, at least or at most, where there is such an aim.
    pub to_reach: Option<f64>,
    /// Whether it does: the median, and the whole interval.
    pub reached: Option<Reached>,
}

/// Whether an aim was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// By the whole 95 % interval.
    Yes,
    /// By the median, not by the whole interval.
    ByTheMedian,
    /// Not by the median.
    No,
}

/// A figure that is compared.
pub struct Figure {
    /// Its name with its unit.
    pub name: &'static str,
    /// True if more is better.
    pub more_is_better: bool,
    /// Digits behind the point.
    pub digits: usize,
    /// Its value in a turn of a row that asks for this rate, if for any.
    pub of: fn(&RawTurn, Option<f64>) -> Option<f64>,
    bound: fn(&Bounds) -> Option<f64>,
    of_itself: bool,
}

const REQUESTS: Figure = Figure {
    name: "requests/s",
    more_is_better: true,
    digits: 0,
    of: |turn, _| Some(turn.requests_per_s()),
    bound: |bounds| bounds.throughput,
    of_itself: false,
};
const MEGABYTES: Figure = Figure { name: "MB/s", digits: 0, of: |turn, _| Some(turn.mb_per_s()), ..REQUESTS };
const CPU_REQUEST: Figure = Figure {
    name: "broker CPU µs per request",
    more_is_better: false,
    digits: 1,
    of: |turn, _| turn.cpu_us_per_request(),
    bound: |bounds| bounds.cpu,
    of_itself: false,
};
const CPU_BYTES: Figure =
    Figure { name: "broker CPU s per GB", digits: 2, of: |turn, _| turn.cpu_secs_per_gb(), ..CPU_REQUEST };
const CPU_UNPACKED: Figure = Figure {
    name: "broker CPU s per GB unpacked",
    of: |turn, _| turn.cpu_secs_per_unpacked_gb(),
    bound: |_| None,
    ..CPU_BYTES
};
const P50: Figure = Figure {
    name: "p50 µs",
    more_is_better: false,
    digits: 0,
    of: |turn, _| turn.latency.known().map(|latency| latency.p50_us),
    bound: |bounds| bounds.p50,
    of_itself: false,
};
const P99: Figure = Figure {
    name: "p99 µs",
    of: |turn, _| turn.latency.known().map(|latency| latency.p99_us),
    bound: |bounds| bounds.p99,
    ..P50
};
const P999: Figure = Figure {
    name: "p99.9 µs",
    of: |turn, _| turn.latency.known().map(|latency| latency.p999_us),
    bound: |bounds| bounds.p999,
    ..P50
};
const HELD: Figure = Figure {
    name: "share of the rate that was served",
    digits: 3,
    of: |turn, rate| rate.map(|rate| turn.requests_per_s() / rate),
    bound: |bounds| bounds.held,
    of_itself: true,
    ..REQUESTS
};
const GROWTH: Figure = Figure {
    name: "producers' p99: with the drain / without",
    digits: 2,
    of: |turn, _| {
        let alone = turn.alone.as_ref()?.known()?;
        Some(turn.latency.known()?.p99_us / alone.p99_us)
    },
    bound: |bounds| bounds.growth,
    of_itself: true,
    ..P50
};

/// What a row is compared by.
pub fn figures(row: &RawRow) -> Vec<Figure> {
    match (row.kind, row.counts_bytes) {
        (RowKind::Backlog, _) => vec![MEGABYTES, CPU_BYTES, P99, GROWTH],
        (RowKind::Packed, _) => vec![MEGABYTES, CPU_BYTES, CPU_UNPACKED, P50],
        (RowKind::Client, _) => vec![MEGABYTES, CPU_BYTES, P50, P99],
        (RowKind::Frames, true) => vec![MEGABYTES, CPU_BYTES, P50, P99, P999],
        (RowKind::Frames, false) if row.rate.is_some() => vec![HELD, CPU_REQUEST, P50, P99, P999],
        (RowKind::Frames, false) => vec![REQUESTS, CPU_REQUEST, P50, P99, P999],
    }
}

/// What [`RawRow::not_run`] begins with where a row was begun.
pub const FAILED: &str = "failed";

/// How wide a throughput's interval may be, relative to its ratio, before a row is no claim any more.
const SPREAD_MAX: f64 = 1.0;
const STEAL_MAX_PERCENT: f64 = 5.0;
const OTHERS_MAX_CORES: f64 = 0.1;

impl RawRow {
    /// The row with what follows from its turns; `pairings` with the aims that hold for each.
    pub fn judged(mut self, row: &Row, sides: &[RawSide], pairings: &[(Pairing, Aims)], seed: u64) -> RawRow {
        self.ratios.clear();
        for (place, (pairing, aims)) in pairings.iter().enumerate() {
            let bounds = match aims {
                Aims::AsItComes => row.to_reach,
                Aims::BothFsync => row.to_reach_fsync,
                Aims::None => Bounds::default(),
            };
            for figure in figures(&self) {
                let values = [pairing.side, pairing.base].map(|side| self.values(&figure, side));
                self.ratios.extend(ratio(place, &figure, values, &bounds, seed));
            }
        }
        self.validity = self.validity(sides);
        self
    }

    /// True if it was begun, and given up.
    pub fn failed(&self) -> bool {
        self.not_run.as_ref().is_some_and(|why| why.starts_with(FAILED))
    }

    /// A figure of each turn of a side.
    pub fn values(&self, figure: &Figure, side: usize) -> Vec<f64> {
        self.turns[side].iter().filter_map(|turn| (figure.of)(turn, self.rate)).collect()
    }

    fn validity(&self, sides: &[RawSide]) -> Validity {
        let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
        reasons.extend(self.not_run.clone());
        for (place, (side, turns)) in sides.iter().zip(&self.turns).enumerate() {
            let name = &side.name;
            // A turn that does not count has still shown that the broker fails requests.
            let aside = self.set_aside.iter().filter(|aside| aside.side == place).map(|aside| &aside.turn);
            let errors: u64 = turns.iter().chain(aside).map(|turn| turn.errors).sum();
            if errors > 0 {
                reasons.push(format!("{name} ({}): {errors} requests failed", side.durability));
            }
            let disturbed: Vec<String> = turns.iter().filter_map(RawTurn::disturbed).collect();
            if let Some(first) = disturbed.first() {
                let (some, all) = (disturbed.len(), turns.len());
                reasons.push(format!("{name} ({}): in {some} of {all} turns {first}", side.durability));
            }
            let least_from_disk = turns.iter().filter_map(|turn| turn.from_disk).fold(f64::INFINITY, f64::min);
            if least_from_disk < FROM_DISK_FROM {
                let percent = least_from_disk * 100.0;
                reasons.push(format!(
                    "{name}: only {percent:.0} % of a backlog came from the disk, the rest from a cache"
                ));
            }
            if let Some(rate) = self.rate {
                let slow = turns.iter().filter(|turn| turn.requests_per_s() < rate * HOLDS_FROM).count();
                if slow > 0 {
                    let (all, durability) = (turns.len(), &side.durability);
                    remarks.push(format!("{name} ({durability}) did not hold the rate in {slow} of {all} turns"));
                }
            }
        }
        if let Some(first) = self.set_aside.first() {
            let count = self.set_aside.len();
            remarks.push(format!(
                "turns that do not count and were measured again: {count}; in the first of them {}",
                first.why
            ));
        }
        for ratio in self.ratios.iter().filter(|ratio| ratio.more_is_better) {
            let [low, high] = ratio.paired.interval;
            if high - low > SPREAD_MAX * ratio.paired.ratio {
                let figure = &ratio.figure;
                reasons.push(format!("the spread of {figure} is too wide for a claim: {low:.2} to {high:.2}"));
            }
        }
        Validity::new(reasons, remarks)
    }
}

/// Which aims hold for a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aims {
    /// Ours durable against Kafka as it comes.
    AsItComes,
    /// An fsync before each ack on both sides.
    BothFsync,
    /// There are none.
    None,
}

fn ratio(pairing: usize, figure: &Figure, values: [Vec<f64>; 2], bounds: &Bounds, seed: u64) -> Option<RawRatio> {
    let [values, bases] = values;
    let both: Vec<(f64, f64)> = values.iter().copied().zip(bases.iter().copied()).collect();
    let ratios = paired(&both, seed)?;
    let own: Vec<(f64, f64)> = values.iter().map(|value| (*value, 1.0)).collect();
    let judged = if figure.of_itself { paired(&own, seed)? } else { ratios.clone() };
    let to_reach = (figure.bound)(bounds);
    let reached = to_reach.map(|bound| {
        let is_reached = |value: f64| if figure.more_is_better { value >= bound } else { value <= bound };
        match (is_reached(judged.ratio), judged.interval.iter().all(|end| is_reached(*end))) {
            (true, true) => Reached::Yes,
            (true, false) => Reached::ByTheMedian,
            (false, _) => Reached::No,
        }
    });
    Some(RawRatio {
        pairing,
        figure: figure.name.to_string(),
        more_is_better: figure.more_is_better,
        median: median(&values),
        base_median: median(&bases),
        paired: ratios,
        of_itself: figure.of_itself,
        to_reach,
        reached,
    })
}

/// What compressed batches cost a broker, by what plain ones of the same size on the wire cost it.
#[derive(Clone, Debug, PartialEq)]
pub struct CodecCost<'a> {
    /// The place of the side.
    pub side: usize,
    /// The row's name.
    pub row: &'a str,
    /// What its batches would take unpacked by what they take.
    pub unpacked: f64,
    /// Broker CPU per byte on the wire by that of plain batches.
    pub per_gb: Paired,
    /// Broker CPU per byte of what was packed by that of plain batches.
    pub per_unpacked_gb: Paired,
}

impl RawTable {
    /// What each codec costs each side that was measured with it and without any, and whose CPU is known.
    pub fn codec_costs(&self) -> Vec<CodecCost<'_>> {
        let Some(plain) = self.rows.iter().find(|row| row.name == PLAIN) else { return Vec::new() };
        let packed = self.rows.iter().filter(|row| row.kind == RowKind::Packed && row.name != PLAIN);
        let both = packed.flat_map(|row| (0..self.sides.len()).map(move |side| (row, side)));
        both.filter_map(|(row, side)| {
            let (turns, plain) = (&row.turns[side], &plain.turns[side]);
            let by_plain = |of: fn(&RawTurn) -> Option<f64>| {
                let pairs = turns.iter().zip(plain).map(|(turn, plain)| of(turn).zip(of(plain)));
                paired(&pairs.collect::<Option<Vec<_>>>()?, self.seed)
            };
            let per_gb = by_plain(RawTurn::cpu_secs_per_gb)?;
            let per_unpacked_gb = by_plain(RawTurn::cpu_secs_per_unpacked_gb)?;
            Some(CodecCost { side, row: &row.name, unpacked: turns.first()?.unpacked?, per_gb, per_unpacked_gb })
        })
        .collect()
    }

    /// Bytes per second of small batches over many partitions by those of large ones, for each side that was measured with both:
    /// its place, and the ratio with its interval. 1 would be: small batches cost nothing more.
    pub fn small_batch_penalty(&self) -> Vec<(usize, Paired)> {
        let [small, large] = PENALTY.map(|name| self.rows.iter().find(|row| row.name == name));
        let Some((small, large)) = small.zip(large) else { return Vec::new() };
        let both = |side: usize| -> Vec<(f64, f64)> {
            small.turns[side].iter().zip(&large.turns[side]).map(|(a, b)| (a.mb_per_s(), b.mb_per_s())).collect()
        };
        let sides = 0..self.sides.len();
        sides.filter_map(|side| Some((side, paired(&both(side), self.seed)?))).collect()
    }
}
