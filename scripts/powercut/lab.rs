//! A disk with a file system, the broker on it, and its clients: the steps that all experiments are made of. Must never
//! touch: what an experiment expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coretide_client::Place;
use coretide_stdx::prng::Prng;

use crate::broker::{Broker, Setup};
use crate::disk::{CutReport, Disk, Plan, Survives};
use crate::load::{Load, Shared, prepare};
use crate::verify::{Verified, Wrongs, verify};
use crate::volume::{FileSystem, Volume};

/// Room for what a round of cuts leaves behind. Memory is taken for what is written only.
const DISK_BYTES: usize = 2 << 30;
/// How long clients may take until something was acknowledged, on a machine that stands still for minutes.
const ACKS_MAX: Duration = Duration::from_secs(400);

/// The longest flush, as on a disk that has something to do.
const FLUSH_MAX_US: u64 = 1000;
/// A planned cut that does not come by then is made by hand.
const PLAN_MAX: Duration = Duration::from_secs(2);

/// What all experiments share.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker.
    pub binary: PathBuf,
    /// Where mounts and logs go.
    pub root: PathBuf,
    /// Everything but timing follows from it.
    pub seed: u64,
    /// Where a copy of the data directory goes before each start that is judged.
    pub keep: Option<PathBuf>,
}

/// A disk, a file system, what clients know of the data on it.
pub struct Lab {
    /// Breaks on demand.
    pub disk: Arc<Disk>,
    /// What the clients know.
    pub shared: Arc<Shared>,
    /// How brokers are started.
    pub setup: Setup,
    /// This lab's randomness.
    pub random: Prng,
    volume: Volume,
    keep: Option<PathBuf>,
}

impl Lab {
    /// An empty file system.
    pub fn new(options: &Options, fs: FileSystem, seed: u64, overrides: &[&str]) -> Result<Lab, String> {
        let disk = Arc::new(Disk::new(DISK_BYTES));
        let volume = Volume::create(&disk, fs, &options.root)?;
        let overrides = overrides.iter().map(|pair| (*pair).to_string()).collect();
        let setup = Setup { binary: options.binary.clone(), log: options.root.join("broker.log"), overrides };
        let mut random = Prng::new(seed);
        disk.pause_flushes(FLUSH_MAX_US, random.fork());
        Ok(Lab { disk, shared: Shared::new(), setup, random, volume, keep: options.keep.clone() })
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.volume.path().join("data")
    }

    /// The first start, with the writers' topics made.
    pub fn first_start(&self) -> Result<Broker, String> {
        let broker = self.setup.start(&self.data())?;
        prepare(&broker.address, &self.shared).map_err(|error| format!("topics could not be made: {error}"))?;
        Ok(broker)
    }

    /// Clients at work, until `batches` more were acknowledged and a while after.
    pub fn load(&mut self, broker: &mut Broker, batches: u64, then_ms: u64) -> Result<Load, String> {
        let due = self.shared.acks() + batches;
        let load = Load::start(&broker.address, &self.shared, &mut self.random);
        let began = Instant::now();
        while self.shared.acks() < due {
            if let Some(status) = broker.ended() {
                load.finish();
                return Err(format!("the broker ended by itself ({status}): {}", self.setup.last_words()));
            }
            if began.elapsed() > ACKS_MAX {
                load.finish();
                let refused = self.shared.ledger().refused.clone();
                return Err(format!("too little is acknowledged; refusals by code: {refused:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(then_ms));
        Ok(load)
    }

    /// The power will go at one of the next `within` flushes or writes, or by hand; returns when it did, or when it should.
    pub fn await_moment(&mut self, cut: Survives, within: u64) {
        let at_flush = match self.random.below(10) {
            0..=5 => true,
            6..=7 => false,
            _ => return,
        };
        let plan = Plan { at_flush, after: self.random.below(within), cut, random: self.random.fork() };
        self.disk.plan_cut(plan);
        let began = Instant::now();
        while self.disk.has_power() && began.elapsed() < PLAN_MAX {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The power goes, if it has not gone. What `before` holds is still running, and ends after it.
    pub fn cut(&mut self, cut: Survives, before: impl FnOnce()) -> Result<CutReport, String> {
        let report = self.disk.cut(cut, &mut self.random);
        // For a moment the broker lives on without its disk: what it acknowledges now is held against it.
        std::thread::sleep(Duration::from_millis(self.random.below(20)));
        before();
        self.volume.unmount()?;
        Ok(report)
    }

    /// The power is back: the file system replays its journal.
    pub fn power_on(&mut self) -> Result<(), String> {
        self.disk.power_on();
        self.volume.mount()
    }

    /// Copies the data directory to where it was asked for.
    pub fn keep_copy(&self) -> Result<(), String> {
        let Some(folder) = &self.keep else { return Ok(()) };
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        copy(&self.data(), folder).map_err(|error| format!("copying to {}: {error}", folder.display()))
    }

    /// Reads everything back. What was there is what must be there from then on: only after a restart, when nothing is on
    /// its way any more.
    pub fn verify(&self, broker: &Broker) -> Result<Verified, Wrongs> {
        verify(&broker.address, &self.shared, true, None)
    }

    /// Reads everything back while what had no answer may still appear.
    pub fn glance(&self, broker: &Broker) -> Result<Verified, Wrongs> {
        verify(&broker.address, &self.shared, false, None)
    }

    /// Reads everything back but for one partition.
    pub fn verify_but(&self, broker: &Broker, except: &Place) -> Result<Verified, Wrongs> {
        verify(&broker.address, &self.shared, true, Some(except))
    }

    /// False where the file system itself has given up after an error.
    pub fn file_system_works(&self) -> bool {
        let file = self.volume.path().join("still-there");
        std::fs::write(&file, b"x").and_then(|()| std::fs::File::open(&file)?.sync_all()).is_ok()
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
