//! Keeping the log short without compaction: now and then the live state is written again, group by group, and when all of
//! it is durable the log may begin at the first repeated record.
//!
//! Why that loses nothing: a record before the first repeated one is either the last of its key, then the dump repeats it
//! (or a later record replaced it before the dump came by), or it is not, then nobody needs it. Records on their way to the
//! log stand before the repetition, so the repetition carries their values. Should one of those fail, the dump is given up.
//! Must never touch: replies.

use crate::config::{CHUNK_MAX_BYTES, DUMP_AFTER_RECORDS_MIN, DUMP_RECORDS_PER_LIVE};
use crate::group::Group;
use crate::record::{OffsetValue, Record};
use crate::writes::{Effects, Then, Writes};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// How many records the log holds, and the dump that runs.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    /// Records between the log's start and its end.
    pub logged: u64,
    running: Option<Running>,
    /// Dumps begun so far: a part names its dump, since parts of one that was given up still arrive.
    begun: u64,
}

#[derive(Debug)]
struct Running {
    /// The last group that was repeated.
    cursor: Option<Arc<str>>,
    /// Parts that are not durable yet.
    outstanding: usize,
    /// Where the first repeated record stands.
    start_offset: Option<i64>,
    /// Records in the log before the dump began.
    logged_before: u64,
}

impl Dump {
    /// The log holds far more than the live state, and no dump runs.
    pub fn is_due(&self, live: u64) -> bool {
        self.running.is_none()
            && live > 0
            && self.logged > DUMP_AFTER_RECORDS_MIN.max(live.saturating_mul(DUMP_RECORDS_PER_LIVE))
    }

    pub fn start(&mut self, groups: &BTreeMap<Arc<str>, Group>, writes: &mut Writes, fx: &mut Effects) {
        self.begun += 1;
        self.running = Some(Running { cursor: None, outstanding: 0, start_offset: None, logged_before: self.logged });
        self.step(groups, writes, fx);
    }

    /// A part is durable: the next ones, or the end. `base_offset` is the part's first offset.
    pub fn on_part_durable(
        &mut self,
        dump: u64,
        base_offset: i64,
        groups: &BTreeMap<Arc<str>, Group>,
        writes: &mut Writes,
        fx: &mut Effects,
    ) {
        let Some(running) = self.running.as_mut().filter(|_| dump == self.begun) else { return };
        running.start_offset.get_or_insert(base_offset);
        running.outstanding -= 1;
        if running.outstanding == 0 {
            self.step(groups, writes, fx);
        }
    }

    /// A write failed: what was repeated may rest on it. (A log that fails for good takes none of the parts; one that refuses a
    /// single write does so at once, before a dump can have repeated it.)
    pub fn give_up(&mut self) {
        self.running = None;
    }

    fn step(&mut self, groups: &BTreeMap<Arc<str>, Group>, writes: &mut Writes, fx: &mut Effects) {
        let Some(running) = &mut self.running else { return };
        let mut coming: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in writes.records() {
            coming.entry(&**record.group()).or_default().push(record);
        }
        let after = running.cursor.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut records = Vec::new();
        let mut bytes = 0;
        for (id, group) in groups.range::<Arc<str>, _>((after, Bound::Unbounded)) {
            let repeated = live_records(group, coming.get(&**id).map_or(&[], Vec::as_slice));
            bytes += repeated.iter().map(Record::approximate_bytes).sum::<usize>();
            records.extend(repeated);
            running.cursor = Some(id.clone());
            if bytes >= CHUNK_MAX_BYTES {
                break;
            }
        }
        let parts = split(records);
        running.outstanding = parts.len();
        if parts.is_empty() {
            self.logged -= running.logged_before.min(self.logged);
            fx.advance_log_start = running.start_offset;
            self.running = None;
        }
        for part in parts {
            writes.push(fx, part, Then::Dumped(self.begun));
        }
    }
}

/// A group's records as the log would have them after everything on its way has arrived.
fn live_records(group: &Group, coming: &[&Record]) -> Vec<Record> {
    let mut stored = group.stored.clone();
    let mut offsets: BTreeMap<(Arc<str>, i32), OffsetValue> = BTreeMap::new();
    for (topic, partitions) in &group.offsets {
        offsets.extend(partitions.iter().map(|(p, value)| ((topic.clone(), *p), value.clone())));
    }
    for record in coming {
        match record {
            Record::Group { value, .. } => stored = value.clone(),
            Record::Offset { topic, partition, value, .. } => {
                let key = (topic.clone(), *partition);
                match value {
                    Some(value) => drop(offsets.insert(key, value.clone())),
                    None => drop(offsets.remove(&key)),
                }
            }
        }
    }
    let group_record = stored.map(|value| Record::Group { group: group.id.clone(), value: Some(value) });
    let offset_records = offsets.into_iter().map(|((topic, partition), value)| Record::Offset {
        group: group.id.clone(),
        topic,
        partition,
        value: Some(value),
    });
    group_record.into_iter().chain(offset_records).collect()
}

/// Parts that fit into a message.
pub(crate) fn split(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    for record in records {
        let next = record.approximate_bytes();
        if bytes + next > CHUNK_MAX_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += next;
        part.push(record);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of about so many bytes.
    fn record(bytes: usize) -> Record {
        let empty = Record::Offset { group: "g".into(), topic: "".into(), partition: 0, value: None };
        let topic = "t".repeat(bytes - empty.approximate_bytes()).into();
        Record::Offset { group: "g".into(), topic, partition: 0, value: None }
    }

    #[test]
    fn a_part_takes_as_much_as_it_may_and_a_record_that_is_larger_goes_alone() {
        let sizes = |records: &[usize]| {
            let parts = split(records.iter().map(|bytes| record(*bytes)).collect());
            parts.iter().map(Vec::len).collect::<Vec<_>>()
        };
        let half = CHUNK_MAX_BYTES / 2;
        assert_eq!(sizes(&[]), [0usize; 0]);
        assert_eq!(sizes(&[half, half]), [2]);
        assert_eq!(sizes(&[half, half, 100, 100]), [2, 2]);
        assert_eq!(sizes(&[half, half + 1, 100]), [1, 2]);
        assert_eq!(sizes(&[CHUNK_MAX_BYTES + 1, 100]), [1, 1]);
    }
}
