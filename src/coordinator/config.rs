//! The settings and the named limits of the group coordinator. Must never touch: where they come from.

/// Settings that Kafka names `group.*` and `offsets.*`, with Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.max.size`: members of one group.
    pub max_size: u32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for company.
    pub initial_rebalance_delay_ms: i32,
    /// `offset.metadata.max.bytes`, which Kafka counts in UTF-16 units.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            max_size: i32::MAX as u32,
            initial_rebalance_delay_ms: 3_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}

/// A member whose first JoinGroup is parked cannot send heartbeats; after this time it is taken for gone.
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 300_000;

/// While nobody joins a group of static members, it is looked at no more often than this.
pub const JOIN_RETRY_MIN_MS: u64 = 1_000;

/// Groups of one `__consumer_offsets` partition. One more is refused with [`crate::GroupError::NotAvailable`].
pub const GROUPS_MAX: usize = 100_000;

/// Member ids handed out by one group and not used yet (KIP-394). One more is refused as over `group.max.size`.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// Protocol names and metadata that the members of one group may hold together. More is refused as over `group.max.size`.
pub const GROUP_PROTOCOLS_MAX_BYTES: usize = 64 << 20;

/// Rough bytes of records that one write of a dump or of a clean-up carries; must stay well below the largest message.
pub const CHUNK_MAX_BYTES: usize = 256 << 10;

/// The log is rewritten from the live state only after this many records, however small the state is.
pub const DUMP_AFTER_RECORDS_MIN: u64 = 10_000;

/// ... and only when the log holds this many records per live one.
pub const DUMP_RECORDS_PER_LIVE: u64 = 4;

const _: () = assert!(CHUNK_MAX_BYTES * 2 < 1_048_588, "a chunk and its last record fit into the default message");
