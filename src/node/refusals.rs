//! What the broker refuses, said in the log: each kind when it first happens and then at most once a minute with the
//! number since, never once per event.
//! Must never touch: deciding what is refused.

use coretide_metrics::ShardMetrics;
use coretide_reactor::reactor::Stats;

/// How often the counters are looked at, in microseconds.
const LOOK_EVERY_US: u64 = 1_000_000;
/// How long a kind that was told is not told again, in microseconds.
const QUIET_US: u64 = 60_000_000;

struct Kind {
    /// After "once: " or "N times: ".
    words: &'static str,
    count: fn(&ShardMetrics, &Stats) -> u64,
}

/// In the order of the log's lines.
const KINDS: [Kind; 14] = [
    Kind { words: "a connection was refused (max.connections)", count: |m, _| m.connections_refused },
    Kind { words: "a connection was refused (max.connections.per.ip)", count: |m, _| m.connections_refused_per_ip },
    Kind { words: "a connection was refused (as many as one shard may have)", count: |_, s| s.refused },
    Kind {
        words: "a connection was closed for a length that is no request's (socket.request.max.bytes)",
        count: |_, s| s.bad_frames,
    },
    Kind {
        words: "a connection was closed because its request stayed incomplete while others waited for memory",
        count: |_, s| s.slow_frames,
    },
    Kind {
        words: "a connection was closed for what it sent: an unknown API or version, or bytes that are no request",
        count: |m, _| m.connections_faulted,
    },
    Kind {
        words: "a connection was closed because it took nothing of its responses while memory was spent",
        count: |m, _| m.connections_slow,
    },
    Kind {
        words: "connections were not read since memory was spent (coretide.shard.memory.bytes, queued.max.request.bytes)",
        count: |m, _| m.memory_pauses,
    },
    Kind { words: "a waiting fetch was answered early since memory was spent", count: |m, _| m.fetches_cut_short },
    Kind {
        words: "no fetch session was made (max.incremental.fetch.session.cache.slots)",
        count: |m, _| m.fetch_sessions_refused,
    },
    Kind { words: "a member was refused (group.max.size)", count: |m, _| m.members_refused },
    Kind {
        words: "a group, a member or a note beside an offset was refused: groups have an eighth of \
                coretide.shard.memory.bytes",
        count: |m, _| m.groups_refused,
    },
    Kind {
        words: "an idle producer id was forgotten: all of them have an eighth of coretide.shard.memory.bytes",
        count: |m, _| m.producers_forgotten,
    },
    Kind {
        words: "topics or partitions were refused (coretide.max.topics, coretide.max.partitions)",
        count: |m, _| m.topics_refused,
    },
];

/// What of one shard was told.
#[derive(Default)]
pub(crate) struct Refusals {
    told: [u64; KINDS.len()],
    quiet_until_us: [u64; KINDS.len()],
    next_look_us: u64,
}

impl Refusals {
    /// Whether it is time to [`Refusals::look`]: asked once per turn, so that a turn does not gather counters for nothing.
    pub(crate) fn are_due(&self, now_us: u64) -> bool {
        now_us >= self.next_look_us
    }

    /// The lines to write now.
    pub(crate) fn look(&mut self, now_us: u64, metrics: &ShardMetrics, stats: &Stats) -> Vec<String> {
        self.next_look_us = now_us + LOOK_EVERY_US;
        let mut lines = Vec::new();
        for (at, kind) in KINDS.iter().enumerate() {
            let count = (kind.count)(metrics, stats);
            let new = count - self.told[at];
            if new > 0 && now_us >= self.quiet_until_us[at] {
                self.told[at] = count;
                self.quiet_until_us[at] = now_us + QUIET_US;
                let times = if new == 1 { "once".to_string() } else { format!("{new} times") };
                lines.push(format!("{times}: {}", kind.words));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_minute() {
        let mut refusals = Refusals::default();
        let (mut metrics, mut stats) = (ShardMetrics::default(), Stats::default());
        let mut lines = Vec::new();
        for ms in 0..130_000u64 {
            metrics.connections_refused += 1;
            if refusals.are_due(ms * 1000) {
                lines.extend(refusals.look(ms * 1000, &metrics, &stats));
            }
        }
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "once: a connection was refused (max.connections)");
        assert_eq!(lines[1], "60000 times: a connection was refused (max.connections)");
        stats.bad_frames = 7;
        let other = refusals.look(131_000_000, &metrics, &stats);
        assert!(other.len() == 1 && other[0].starts_with("7 times: ") && other[0].contains("socket.request.max.bytes"));
    }

    #[test]
    fn every_kind_counts_something_of_its_own() {
        let (metrics, stats) = (ShardMetrics::default(), Stats::default());
        assert!(KINDS.iter().all(|kind| (kind.count)(&metrics, &stats) == 0));
        let mut words: Vec<&str> = KINDS.iter().map(|kind| kind.words).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), KINDS.len());
    }
}
