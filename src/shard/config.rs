//! What a shard is told at its birth, and the named limits of everything that grows here.
//! Must never touch: where the values come from.

use std::sync::Arc;

use coretide_log::store::StoreLimits;
use coretide_model::{BrokerConfig, ShardId};

/// Requests of one connection that are worked on at once. More wait unread in their frames.
pub const REQUESTS_IN_PROGRESS_MAX: u32 = 64;
/// How long ready responses wait for other appends of their connection, in microseconds: about one commit.
pub const RESPONSE_HOLD_US: u64 = 250;
/// Frames of one connection that wait for their turn before its socket is not read any more.
pub const BACKLOG_FRAMES_MAX: usize = 16;
/// Bytes of such frames.
pub const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Response bytes that one connection may leave unread before its next requests wait.
pub const UNSENT_BYTES_MAX: u64 = 8 << 20;
/// Bytes of records that a Fetch may have while more than half of the shard's memory budget is in use.
pub const FETCH_BYTES_WHEN_TIGHT: u32 = 1 << 20;
/// Responses in memory that a connection has not taken, from which on it counts as one that holds much: it is held back
/// before the others are.
pub const HEAVY_BYTES: u64 = 256 << 10;
/// Bytes of records that an answer to a Fetch may have, however little memory is left.
pub const ANSWER_MIN_BYTES: u64 = 64 << 10;
/// A connection that takes nothing of its responses for this long is closed while the shard's memory is spent.
pub const SLOW_READER_US: u64 = 1_000_000;
/// How often connections are looked at for idleness, in microseconds.
pub const IDLE_SCAN_US: u64 = 10_000_000;
/// How often slow readers are looked for while memory is spent, in microseconds.
pub const SLOW_READER_SCAN_US: u64 = 250_000;
/// What the compressed batches of one Produce request may unpack to where they are received: a few milliseconds. The
/// background unpacks what is more, so that a bomb does not hold up other connections.
pub const UNPACK_AT_ONCE_BYTES: u64 = 4 << 20;
/// How often produce requests are looked at for their timeouts, in microseconds.
pub const PRODUCE_SCAN_US: u64 = 500_000;
/// How long a stop waits for requests in progress, in microseconds.
pub const STOP_GRACE_US: u64 = 5_000_000;
/// What a request costs beside its frame, in bytes of the memory budget: many small ones must not cost more than is
/// counted.
pub const REQUEST_OVERHEAD_BYTES: u64 = 512;
/// Bytes that reads from disk for fetches may bring into memory at one time; more wait for their turn.
pub const COLD_BYTES_MAX: u64 = 48 << 20;
/// Bytes that are read for sequential readers of cold data before they ask, or have been and wait for them.
pub const AHEAD_BYTES_MAX: u64 = 16 << 20;
/// Fetches that wait for the disk at one time; more are answered without data, and ask again.
pub const COLD_WAITS_MAX: usize = 4096;

/// How `coretide.shard.memory.bytes` is divided. What is named here is the most that one kind may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Frames that do not fit into a receive block, until the last use of them.
    pub large_frames_bytes: usize,
    /// The newest records, `coretide.shard.cache.bytes` and what is not in its segment yet.
    pub cache_bytes_max: usize,
    /// Requests in progress and responses that have not left.
    pub requests_bytes: usize,
    /// Groups, their members and offsets.
    pub groups_bytes: usize,
    /// Idempotent producers of all partitions, by number.
    pub producers: usize,
}

/// What one idempotent producer costs on one partition.
const PRODUCER_BYTES: usize = 512;

impl MemoryShares {
    /// The shares that follow from the configuration.
    pub fn of(broker: &BrokerConfig) -> MemoryShares {
        let all = broker.engine.shard_memory_bytes;
        let large_frames_bytes = all / 4;
        let cache_bytes_max = broker.engine.shard_cache_bytes + all / 8;
        MemoryShares {
            large_frames_bytes,
            cache_bytes_max,
            requests_bytes: all.saturating_sub(cache_bytes_max + large_frames_bytes).max(all / 4),
            groups_bytes: all / 8,
            producers: all / 8 / PRODUCER_BYTES,
        }
    }
}

/// What a shard is told at its birth.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// The broker's static configuration, with the ports that the listeners really have.
    pub broker: Arc<BrokerConfig>,
    /// The cluster's id, 22 characters of base64.
    pub cluster_id: Arc<str>,
    /// A random number, new with every start and for every shard: topic ids, member ids and fetch session ids follow
    /// from it.
    pub seed: u64,
}

/// The store's limits that follow from the broker's configuration: the same for recovery and for the running shards.
pub fn store_limits(broker: &BrokerConfig) -> StoreLimits {
    let engine = &broker.engine;
    StoreLimits {
        journal_file_bytes: engine.journal_file_bytes,
        journal_files_max: engine.journal_files_max,
        direct_from_bytes: engine.direct_from_bytes,
        destage_from_bytes: engine.destage_from_bytes,
        cache_bytes: engine.shard_cache_bytes,
        cache_bytes_max: MemoryShares::of(broker).cache_bytes_max,
        disk_reserve_bytes: engine.disk_reserve_bytes,
        disk_check_ms: engine.disk_check_interval_ms,
        ..StoreLimits::default()
    }
}
