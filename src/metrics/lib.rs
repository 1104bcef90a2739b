//! What one shard counts, as plain numbers. Whoever wants to show them asks the shard and adds them up.
//! Must never touch: globals, locks, clocks.

/// API keys that are counted one by one; Kafka's own end below.
pub const API_KEYS: usize = 128;

/// The counters of one shard since its start.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    /// Requests by API key.
    pub requests: [u64; API_KEYS],
    /// Connections accepted.
    pub connections_opened: u64,
    /// Connections refused because of `max.connections`.
    pub connections_refused: u64,
    /// Connections refused because of `max.connections.per.ip` or its overrides.
    pub connections_refused_per_ip: u64,
    /// Connections refused because the shard was starting or stopping.
    pub connections_unserved: u64,
    /// Connections closed for what they sent: unknown APIs, bodies that are none, errors under acks=0.
    pub connections_faulted: u64,
    /// Connections closed because nothing happened on them for `connections.max.idle.ms`.
    pub connections_expired: u64,
    /// Connections closed because they did not take their responses while memory was spent.
    pub connections_slow: u64,
    /// Bytes of request frames.
    pub bytes_in: u64,
    /// Bytes of response frames.
    pub bytes_out: u64,
    /// Batches appended for clients.
    pub batches_appended: u64,
    /// Bytes of these.
    pub bytes_appended: u64,
    /// Batches that had been appended before.
    pub batches_duplicate: u64,
    /// Batches refused.
    pub batches_refused: u64,
    /// Record bytes served from memory.
    pub bytes_hot: u64,
    /// Record bytes served from files without passing through user space.
    pub bytes_file: u64,
    /// Record bytes served from disk reads.
    pub bytes_cold: u64,
    /// Fetch requests that waited.
    pub fetches_parked: u64,
    /// Fetch requests that waited and were answered early because memory was spent.
    pub fetches_cut_short: u64,
    /// Fetch sessions made.
    pub fetch_sessions_made: u64,
    /// Fetches that were to begin a session and found no slot for it.
    pub fetch_sessions_refused: u64,
    /// New members refused because of `group.max.size` or what one group may hold.
    pub members_refused: u64,
    /// Topics, or partitions of a topic, refused because of `coretide.max.topics` or `coretide.max.partitions`.
    pub topics_refused: u64,
    /// Fetch sessions pushed out by others.
    pub fetch_sessions_evicted: u64,
    /// New members, new groups and notes beside offsets that were refused because groups had all their memory.
    pub groups_refused: u64,
    /// Idempotent producers that were forgotten because there were too many of them.
    pub producers_forgotten: u64,
    /// Journal commits that were seen to complete.
    pub commits: u64,
    /// Letters to other shards.
    pub mail_sent: u64,
    /// Times that reading stopped because the memory budget was spent.
    pub memory_pauses: u64,
}

impl Default for ShardMetrics {
    fn default() -> ShardMetrics {
        ShardMetrics {
            requests: [0; API_KEYS],
            connections_opened: 0,
            connections_refused: 0,
            connections_refused_per_ip: 0,
            connections_unserved: 0,
            connections_faulted: 0,
            connections_expired: 0,
            connections_slow: 0,
            bytes_in: 0,
            bytes_out: 0,
            batches_appended: 0,
            bytes_appended: 0,
            batches_duplicate: 0,
            batches_refused: 0,
            bytes_hot: 0,
            bytes_file: 0,
            bytes_cold: 0,
            fetches_parked: 0,
            fetches_cut_short: 0,
            fetch_sessions_made: 0,
            fetch_sessions_evicted: 0,
            fetch_sessions_refused: 0,
            members_refused: 0,
            topics_refused: 0,
            groups_refused: 0,
            producers_forgotten: 0,
            commits: 0,
            mail_sent: 0,
            memory_pauses: 0,
        }
    }
}

impl ShardMetrics {
    /// Counts a request of this API key.
    pub fn count_request(&mut self, api_key: i16) {
        if let Some(count) = usize::try_from(api_key).ok().and_then(|key| self.requests.get_mut(key)) {
            *count += 1;
        }
    }
}
