//! What the runs reached of what there is: error codes, events and letters of the shards, operations of the disk and the crash
//! points among them, states of groups and sessions, kinds of faults. It only looks on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use coretide_log::io::{FileId, Op, SegmentFile};
use coretide_metrics::ShardMetrics;

use crate::disk::DiskSins;

/// What exists, by area. Error codes are not here: they are read from the sources of the rooms that answer with them.
pub const ALL: &[(&str, &[&str])] = &[
    ("event", &["Opened", "Frame", "Closed", "Sent", "IoDone", "JobDone", "Mail", "Tick", "Stop"]),
    ("output", &["Send", "Close", "PauseRead", "ResumeRead", "Mail", "Io", "Job", "Ready", "Stopped", "Fatal"]),
    (
        "mail",
        &[
            "Append", "Appended", "Read", "ReadDone", "Woken", "Unwatch", "Ask", "Answer", "Delta", "Applied", "Admit",
            "Admitted", "Left", "Present", "Drained",
        ],
    ),
    (
        "disk",
        &[
            "allocate journal",
            "write journal durable",
            "write journal written",
            "sync journal",
            "remove journal",
            "read journal",
            "write checkpoint",
            "sync checkpoint",
            "truncate checkpoint",
            "read checkpoint",
            "allocate log",
            "write log written",
            "sync log",
            "truncate log",
            "remove log",
            "read log",
            "write index",
            "sync index",
            "remove index",
            "read index",
            "write timeindex",
            "sync timeindex",
            "remove timeindex",
            "read timeindex",
            "write partition file",
            "read partition file",
            "write boot record",
            "read boot record",
            "make dir",
            "rename dir",
            "remove dir",
            "sync dir",
            "list dir",
            "ask for free space",
        ],
    ),
    (
        "crash while in flight",
        &[
            "write journal durable",
            "write journal written",
            "sync journal",
            "allocate journal",
            "write checkpoint",
            "sync checkpoint",
            "write log written",
            "sync log",
            "truncate log",
            "remove log",
            "write index",
            "sync index",
            "write timeindex",
            "write boot record",
            "rename dir",
            "remove dir",
            "sync dir",
        ],
    ),
    (
        "end",
        &[
            "Kill while serving",
            "Kill while starting",
            "Kill while stopping",
            "PowerCut while serving",
            "PowerCut while starting",
            "PowerCut while stopping",
            "CleanStop while serving",
            "another number of shards",
        ],
    ),
    (
        "fault",
        &[
            "write error",
            "sync error",
            "sectors dropped by a failed sync",
            "read error",
            "disk full",
            "torn write",
            "sectors lost",
            "entries lost",
            "sync that lies",
            "loss by a lie",
            "rotten bit",
            "connection reset",
            "connection vanished",
            "delivery stalled",
            "clock ahead",
            "clock back",
            "core taken away",
        ],
    ),
    ("group state", &["Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"]),
    (
        "group transition",
        &[
            "Empty to PreparingRebalance",
            "PreparingRebalance to CompletingRebalance",
            "PreparingRebalance to Empty",
            "CompletingRebalance to Stable",
            "CompletingRebalance to PreparingRebalance",
            "Stable to PreparingRebalance",
            "Empty to Dead",
            "Dead to Empty",
        ],
    ),
    (
        "session",
        &[
            "connection refused",
            "connection refused for its address",
            "connection faulted",
            "connection expired",
            "batch duplicate",
            "batch refused",
            "served from memory",
            "served from disk",
            "fetch parked",
            "fetch session made",
            "fetch session evicted",
            "memory spent",
        ],
    ),
];

/// What cannot be reached here and does not count, with the reason.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("FencedLeaderEpoch", "on a single node no partition has a newer leader epoch than its first"),
    ("UnknownServerError", "no judge lets it pass; what answers with it has tests of its own"),
];

/// What was reached, by area.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    reached: BTreeMap<&'static str, BTreeSet<String>>,
    /// The state in which each group was last seen.
    group_states: BTreeMap<String, String>,
}

impl Coverage {
    /// Something was reached.
    pub fn note(&mut self, area: &'static str, what: impl Into<String>) {
        self.reached.entry(area).or_default().insert(what.into());
    }

    /// Something was reached if the count is not zero.
    pub fn count(&mut self, area: &'static str, what: &str, count: u64) {
        if count > 0 {
            self.note(area, what);
        }
    }

    /// The variant of a closed enum, by its name.
    pub fn variant(&mut self, area: &'static str, value: &impl std::fmt::Debug) {
        let mut name = FirstWord::default();
        // It stops the formatting after the name: what follows may be megabytes.
        let _ = write!(name, "{value:?}");
        self.note(area, name.word);
    }

    /// An operation of the disk.
    pub fn op(&mut self, area: &'static str, op: &Op) {
        self.note(area, name_of(op));
    }

    /// A group was described.
    pub fn group(&mut self, group: &str, state: &str) {
        self.note("group state", state);
        let before = self.group_states.insert(group.to_string(), state.to_string());
        if let Some(before) = before.filter(|before| before != state) {
            self.note("group transition", format!("{before} to {state}"));
        }
    }

    /// What the disk did to the broker.
    pub fn sins(&mut self, sins: &DiskSins) {
        let DiskSins { write_errors, sync_errors, read_errors, refusals, torn_writes, .. } = *sins;
        let DiskSins { dropped_sectors, lost_sectors, lost_entries, lies, lost_by_lies, rotten_bits, .. } = *sins;
        self.count("fault", "write error", write_errors);
        self.count("fault", "sync error", sync_errors);
        self.count("fault", "sectors dropped by a failed sync", dropped_sectors);
        self.count("fault", "read error", read_errors);
        self.count("fault", "disk full", refusals);
        self.count("fault", "torn write", torn_writes);
        self.count("fault", "sectors lost", lost_sectors);
        self.count("fault", "entries lost", lost_entries);
        self.count("fault", "sync that lies", lies);
        self.count("fault", "loss by a lie", lost_by_lies);
        self.count("fault", "rotten bit", rotten_bits);
    }

    /// What a shard counted in its life.
    pub fn metrics(&mut self, metrics: &ShardMetrics) {
        self.count("session", "connection refused", metrics.connections_refused);
        self.count("session", "connection refused for its address", metrics.connections_refused_per_ip);
        self.count("session", "connection faulted", metrics.connections_faulted);
        self.count("session", "connection expired", metrics.connections_expired);
        self.count("session", "batch duplicate", metrics.batches_duplicate);
        self.count("session", "batch refused", metrics.batches_refused);
        self.count("session", "served from memory", metrics.bytes_hot);
        self.count("session", "served from disk", metrics.bytes_cold + metrics.bytes_file);
        self.count("session", "fetch parked", metrics.fetches_parked);
        self.count("session", "fetch session made", metrics.fetch_sessions_made);
        self.count("session", "fetch session evicted", metrics.fetch_sessions_evicted);
        self.count("session", "memory spent", metrics.memory_pauses);
    }

    /// Takes in what another run reached.
    pub fn merge(&mut self, other: Coverage) {
        for (area, reached) in other.reached {
            self.reached.entry(area).or_default().extend(reached);
        }
    }

    /// What of `all` in this area was reached, and what was not.
    pub fn split<'a>(&self, area: &str, all: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
        let nothing = BTreeSet::new();
        let reached = self.reached.get(area).unwrap_or(&nothing);
        all.iter().copied().partition(|what| reached.contains(*what))
    }
}

/// Takes the first word of what is written to it, and refuses the rest.
#[derive(Default)]
struct FirstWord {
    word: String,
}

impl std::fmt::Write for FirstWord {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        self.word.push_str(&text[..end]);
        if end < text.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// What kind of operation this is, in the words of [`ALL`].
pub fn name_of(op: &Op) -> String {
    match op {
        Op::Read { file, .. } => format!("read {}", kind_of(file)),
        Op::Write { file: file @ FileId::Journal { .. }, durability, .. } => {
            format!("write {} {}", kind_of(file), format!("{durability:?}").to_lowercase())
        }
        Op::Write { file, durability, .. } if kind_of(file) == "log" => {
            format!("write log {}", format!("{durability:?}").to_lowercase())
        }
        Op::Write { file, .. } => format!("write {}", kind_of(file)),
        Op::Sync { file } => format!("sync {}", kind_of(file)),
        Op::Allocate { file, .. } => format!("allocate {}", kind_of(file)),
        Op::Truncate { file, .. } => format!("truncate {}", kind_of(file)),
        Op::Remove { file } => format!("remove {}", kind_of(file)),
        Op::Len { file } => format!("length of {}", kind_of(file)),
        Op::SyncDir { .. } => "sync dir".to_string(),
        Op::MakeDir { .. } => "make dir".to_string(),
        Op::RenameDir { .. } => "rename dir".to_string(),
        Op::RemoveDir { .. } => "remove dir".to_string(),
        Op::List { .. } => "list dir".to_string(),
        Op::Volume => "ask for free space".to_string(),
    }
}

fn kind_of(file: &FileId) -> &'static str {
    match file {
        FileId::Journal { .. } => "journal",
        FileId::Checkpoint { .. } => "checkpoint",
        FileId::Segment { kind: SegmentFile::Log, .. } => "log",
        FileId::Segment { kind: SegmentFile::Index, .. } => "index",
        FileId::Segment { kind: SegmentFile::TimeIndex, .. } => "timeindex",
        FileId::Segment { .. } => "other segment file",
        FileId::Partition { .. } => "partition file",
        FileId::Root { .. } => "boot record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_reached_and_the_rest_is_not() {
        let mut coverage = Coverage::default();
        coverage.variant("event", &Some(5));
        coverage.group("g", "Empty");
        coverage.group("g", "Stable");
        coverage.op("disk", &Op::SyncDir { dir: "".into() });
        assert_eq!(coverage.split("event", &["Some", "None"]), (vec!["Some"], vec!["None"]));
        assert_eq!(coverage.split("group transition", &["Empty to Stable"]).1, Vec::<&str>::new());
        assert_eq!(coverage.split("disk", &["sync dir", "make dir"]), (vec!["sync dir"], vec!["make dir"]));
    }
}
