//! Power cuts under load, while starting, and after a clean stop; after each of them everything acknowledged must be there.
//! And the proof that this can fail. Must never touch: how a cut is made.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::disk::{CutReport, Survives};
use crate::lab::{Lab, Options};
use crate::verify::Verified;
use crate::volume::FileSystem;

/// After so many cuts there is a new file system, and other settings of the broker.
const ROUND_CUTS: u32 = 10;
/// So many cuts may pass until a broker that does not flush is caught.
const PROVE_CUTS: u32 = 6;
/// A planned cut comes within so many flushes or writes.
const WITHIN: u64 = 60;
/// Findings that are shown in full.
const WRONGS_SHOWN: usize = 12;

/// Settings that make the journal go round, destages and checkpoints happen, and files come and go.
pub const SMALL: &[&str] = &[
    "coretide.journal.file.bytes=1048576",
    "coretide.journal.files.max=4",
    "coretide.destage.from.bytes=65536",
    "log.retention.check.interval.ms=1000",
];

/// What a run added up to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Cuts made.
    pub cuts: u32,
    /// Of these, so many while the broker started.
    pub at_start: u32,
    /// Of these, so many after a clean stop.
    pub after_stop: u32,
    /// Sectors that were written, not flushed, and lost.
    pub lost_sectors: u64,
    /// Sectors that were written, not flushed, and kept.
    pub kept_sectors: u64,
    /// Records acknowledged.
    pub acked: u64,
    /// Comparisons of records that had to be there.
    pub compared: u64,
    /// Records of unknown outcome that had made it.
    pub found: u64,
    /// Comparisons of committed offsets.
    pub commits: u64,
    /// The slowest start.
    pub slowest_start: Duration,
}

impl Totals {
    fn add(&mut self, report: CutReport, verified: Verified, start: Duration) {
        self.lost_sectors += report.lost_sectors as u64;
        self.kept_sectors += report.kept_sectors as u64;
        self.compared += verified.compared;
        self.found += verified.found;
        self.commits += verified.commits;
        self.slowest_start = self.slowest_start.max(start);
    }
}

/// Cuts the power `cuts` times. The error says which one went wrong, and how.
pub fn run(options: &Options, fs: FileSystem, cuts: u32) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut round = 0;
    while totals.cuts < cuts {
        let seed = options.seed.wrapping_add(round);
        let overrides = if round % 2 == 0 { SMALL } else { &[] };
        let end = cuts.min(totals.cuts + ROUND_CUTS);
        one_round(options, fs, seed, overrides, end, &mut totals)
            .map_err(|error| format!("{}, round {round} (seed {seed}), cut {}: {error}", fs.name(), totals.cuts))?;
        round += 1;
    }
    Ok(totals)
}

fn one_round(
    options: &Options,
    fs: FileSystem,
    seed: u64,
    overrides: &[&str],
    end: u32,
    totals: &mut Totals,
) -> Result<(), String> {
    let mut lab = Lab::new(options, fs, seed, overrides)?;
    let mut broker = lab.first_start()?;
    while totals.cuts < end {
        let began = Instant::now();
        let kind = Survives::choose(&mut lab.random);
        let is_stopped = lab.random.chance(1, 10);
        let mut report = cut_at_work(&mut lab, broker, kind, is_stopped)?;
        totals.cuts += 1;
        totals.after_stop += u32::from(is_stopped);
        lab.power_on()?;
        while totals.cuts < end && lab.random.chance(1, 3) {
            let more = cut_at_start(&mut lab)?;
            report.unflushed += more.unflushed;
            report.lost_sectors += more.lost_sectors;
            report.kept_sectors += more.kept_sectors;
            totals.cuts += 1;
            totals.at_start += 1;
            lab.power_on()?;
        }
        lab.keep_copy()?;
        broker = lab.setup.start(&lab.data())?;
        let verified = lab.verify(&broker).map_err(|wrong| shown(&wrong))?;
        totals.add(report, verified, broker.took);
        println!(
            "{} cut {}: {}{}, {} writes unflushed, {} sectors lost, {} kept; start {} ms, {} records as they were, {} more, {} s",
            fs.name(),
            totals.cuts,
            if is_stopped { "clean stop, then " } else { "" },
            if is_stopped { "nothing survives".to_string() } else { format!("{kind:?} survives").to_lowercase() },
            report.unflushed,
            report.lost_sectors,
            report.kept_sectors,
            broker.took.as_millis(),
            verified.compared,
            verified.found,
            began.elapsed().as_secs()
        );
    }
    totals.acked += lab.shared.ledger().acked;
    broker.kill();
    Ok(())
}

/// A cut under load, or right after a clean stop.
fn cut_at_work(lab: &mut Lab, mut broker: Broker, kind: Survives, is_stopped: bool) -> Result<CutReport, String> {
    let (batches, then_ms) = (lab.random.below(300), lab.random.below(300));
    let load = lab.load(&mut broker, batches, then_ms)?;
    if is_stopped {
        load.finish();
        if !broker.stop()? {
            return Err(format!("a clean stop failed: {}", lab.setup.last_words()));
        }
        return lab.cut(Survives::Nothing, || ());
    }
    lab.await_moment(kind, WITHIN);
    lab.cut(kind, || {
        broker.kill();
        load.finish();
    })
}

/// A cut while the broker recovers from the last one, or just after.
fn cut_at_start(lab: &mut Lab) -> Result<CutReport, String> {
    let starting = lab.setup.spawn(&lab.data())?;
    let kind = Survives::choose(&mut lab.random);
    lab.await_moment(kind, WITHIN);
    if lab.disk.has_power() {
        std::thread::sleep(Duration::from_millis(lab.random.below(60)));
    }
    lab.cut(kind, || starting.kill())
}

/// Some of the findings, one per line.
pub fn shown(wrong: &[String]) -> String {
    let mut text = format!("{} finding(s):\n  {}", wrong.len(), wrong[..wrong.len().min(WRONGS_SHOWN)].join("\n  "));
    if wrong.len() > WRONGS_SHOWN {
        text.push_str("\n  ...");
    }
    text
}

/// A broker whose flushes do nothing must be caught losing records: once because it is told not to flush, once because the
/// disk lies about it. Returns how many cuts each took.
pub fn prove(options: &Options, fs: FileSystem) -> Result<[u32; 2], String> {
    let relaxed = caught(options, fs, &["log.flush.interval.messages=1000000"], false)?;
    let lying = caught(options, fs, &[], true)?;
    match (relaxed, lying) {
        (Some(relaxed), Some(lying)) => Ok([relaxed, lying]),
        (None, _) => Err(format!("{}: a broker told not to flush was not caught in {PROVE_CUTS} cuts", fs.name())),
        (_, None) => Err(format!("{}: a lying disk was not caught in {PROVE_CUTS} cuts", fs.name())),
    }
}

fn caught(options: &Options, fs: FileSystem, overrides: &[&str], is_lying: bool) -> Result<Option<u32>, String> {
    for tried in 1..=PROVE_CUTS {
        let mut lab = Lab::new(options, fs, options.seed.wrapping_add(u64::from(tried)), overrides)?;
        let mut broker = lab.first_start()?;
        let load = lab.load(&mut broker, 50, 0)?;
        lab.disk.lie(is_lying);
        std::thread::sleep(Duration::from_millis(100 + lab.random.below(200)));
        lab.cut(Survives::Nothing, || {
            broker.kill();
            load.finish();
        })?;
        lab.disk.lie(false);
        lab.power_on()?;
        let broker = lab.setup.start(&lab.data())?;
        match lab.verify(&broker) {
            Ok(_) => {}
            Err(wrong) if wrong.iter().any(|line| line.contains("are lost")) => return Ok(Some(tried)),
            Err(wrong) => return Err(format!("{}: something else than a loss: {}", fs.name(), shown(&wrong))),
        }
    }
    Ok(None)
}
