//! The broker of the simulation: its shards with their inboxes, what they asked of the disk, and the mail between them.

use std::collections::{BTreeMap, VecDeque};

use coretide_log::io::Op;
use coretide_log::store::Boot;
use coretide_shard::{Event, Job as ShardJob, Mail, Shard};

use crate::job::JobRun;
use crate::judge::MemoryJudge;

/// One shard and what surrounds it.
pub struct Host {
    pub shard: Shard,
    pub inbox: VecDeque<Event>,
    pub memory: MemoryJudge,
    /// The earliest turn that is scheduled.
    pub turn_at_us: Option<u64>,
    /// Its core is busy until then.
    pub busy_until_us: u64,
    /// Microseconds that a turn takes at least: shards run at different speeds.
    pub turn_us: u64,
    pub ready: bool,
    pub stopped: bool,
    /// Hot operations in flight.
    pub ios: BTreeMap<u64, Op>,
    pub jobs: BTreeMap<u64, JobRun<ShardJob>>,
    /// Mail on its way to each other shard, and when the last of it arrives.
    pub lanes: BTreeMap<usize, (VecDeque<Mail>, u64)>,
}

impl Host {
    /// A shard that was just made.
    pub fn new(shard: Shard, turn_us: u64) -> Host {
        Host {
            shard,
            inbox: VecDeque::new(),
            memory: MemoryJudge::default(),
            turn_at_us: None,
            busy_until_us: 0,
            turn_us,
            ready: false,
            stopped: false,
            ios: BTreeMap::new(),
            jobs: BTreeMap::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// Everything the disk has not done yet.
    pub fn in_flight(&self) -> impl Iterator<Item = &Op> {
        self.ios.values().chain(self.jobs.values().filter_map(JobRun::in_flight))
    }
}

/// The process.
#[derive(Default)]
pub struct Broker {
    /// Which life of the process this is; what was scheduled in an earlier one is void.
    pub life: u32,
    /// Recovery, while it runs.
    pub boot: Option<JobRun<Boot>>,
    pub hosts: Vec<Host>,
    /// A clean stop is under way.
    pub stopping: bool,
}

impl Broker {
    /// True when connections are accepted.
    pub fn is_up(&self) -> bool {
        !self.hosts.is_empty() && !self.stopping && self.hosts.iter().all(|host| host.ready)
    }

    /// Everything the disk has not done yet.
    pub fn in_flight(&self) -> Vec<Op> {
        let boot = self.boot.iter().filter_map(JobRun::in_flight);
        self.hosts.iter().flat_map(Host::in_flight).chain(boot).cloned().collect()
    }
}
