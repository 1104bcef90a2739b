//! The start: from what the last run left on disk to one `ShardRecovered` per shard.

use std::fmt;
use std::sync::Arc;

use coretide_model::TopicPartition;

use super::api::StoreLimits;
use crate::io::{IoError, Job, OpResult, Step};

/// The shard that owns a partition, given the number of shards.
pub type OwnerFn = Arc<dyn Fn(TopicPartition, u16) -> u16 + Send + Sync>;

/// How to start.
#[derive(Clone)]
pub struct BootConfig {
    /// Shards wanted; may differ from the last run's.
    pub shards: u16,
    /// Where each log goes.
    pub owner: OwnerFn,
    /// A random number, new with every start: commits of earlier runs must not look like ours.
    pub random: u64,
    /// As for `Store::open`.
    pub limits: StoreLimits,
}

impl fmt::Debug for BootConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootConfig").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// Why the broker cannot start on this data directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// A newer broker wrote it.
    #[error("the data was written in format {found}, and this broker knows formats up to {known}: start a newer one")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The disk refused something.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// What the start found and did.
#[derive(Debug)]
pub struct BootReport {
    /// One per wanted shard, by number.
    pub shards: Vec<ShardRecovered>,
    /// The last run stopped cleanly (or there was none).
    pub clean: bool,
    /// Bytes read from journals and checkpoints.
    pub bytes_read: u64,
    /// Things an operator should know, in words: a lost checkpoint, segments that had to be scanned.
    pub notes: Vec<String>,
}

/// A shard's logs and journal as recovery left them; made by [`Boot`], taken by `Store::open`.
#[derive(Debug)]
pub struct ShardRecovered {
    /// The shard's number.
    pub shard: u16,
    /// The id of the journal that it begins.
    pub journal_id: u64,
}

impl ShardRecovered {
    /// A shard without logs on a disk without files: its first journal file is made in the background.
    pub fn empty(shard: u16, journal_id: u64) -> ShardRecovered {
        ShardRecovered { shard, journal_id }
    }
}

/// The job that recovers a data directory.
#[derive(Debug)]
pub struct Boot {
    config: BootConfig,
}

impl Boot {
    /// A start with this configuration.
    pub fn new(config: BootConfig) -> Boot {
        Boot { config }
    }
}

impl Job for Boot {
    type Output = Result<BootReport, BootError>;

    fn step(&mut self, _results: Vec<OpResult>) -> Step<Result<BootReport, BootError>> {
        let _ = &self.config;
        unimplemented!()
    }
}
