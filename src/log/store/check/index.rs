//! The index files of a segment held against its batches: every entry must say something true of the segment, in order.
//! Which batches have an entry is not compared: `index.interval.bytes` may have changed since.
//! Must never touch: files.

use bytes::Bytes;

use crate::batch::BatchHeader;
use crate::store::index::{
    INDEX_ENTRY_BYTES, MaxTimestamp, SegmentIndex, TIME_ENTRY_BYTES, TimeEntry, put_time, read_entry, read_time,
};

/// What a file of the index says that is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// The position in the file.
    pub at: u64,
    /// In words.
    pub what: String,
}

/// Both index files, compared while the segment's batches go by.
#[derive(Debug)]
pub struct IndexCheck {
    base_offset: i64,
    interval_bytes: u32,
    index: Bytes,
    times: Bytes,
    next_entry: usize,
    next_time: usize,
    max: MaxTimestamp,
    /// The first wrong entry of each file.
    pub bad_index: Option<BadEntry>,
    pub bad_times: Option<BadEntry>,
    /// What the index would be if it were made now.
    made: SegmentIndex,
}

impl IndexCheck {
    /// `index` and `times`: the files as far as they should count; `index_bytes` and `time_bytes` say how far.
    pub fn new(
        base_offset: i64,
        interval_bytes: u32,
        (index, index_bytes): (Bytes, u32),
        (times, time_bytes): (Bytes, u32),
    ) -> IndexCheck {
        let cut = |bytes: &Bytes, wanted: u32| {
            let at = bytes.len() as u64;
            (bytes.len() < wanted as usize).then(|| BadEntry { at, what: format!("it should have {wanted} bytes") })
        };
        IndexCheck {
            base_offset,
            interval_bytes,
            bad_index: cut(&index, index_bytes),
            bad_times: cut(&times, time_bytes),
            index,
            times,
            next_entry: 0,
            next_time: 0,
            max: MaxTimestamp::NONE,
            made: SegmentIndex::default(),
        }
    }

    fn entry(&self) -> Option<(u32, u32)> {
        read_entry(self.index.get(self.next_entry * INDEX_ENTRY_BYTES..)?)
    }

    fn time(&self) -> Option<TimeEntry> {
        read_time(self.times.get(self.next_time * TIME_ENTRY_BYTES..)?)
    }

    /// A good batch goes by.
    pub fn note(&mut self, position: u32, header: &BatchHeader) {
        let last = header.last_offset();
        self.made.note_batch(self.base_offset, position, last, header.max_timestamp, self.interval_bytes);
        if header.max_timestamp > self.max.timestamp {
            self.max = MaxTimestamp { timestamp: header.max_timestamp, offset: last };
        }
        let relative = last - self.base_offset;
        while let Some((offset, at)) = self.entry().filter(|(_, at)| *at <= position) {
            if at < position || i64::from(offset) != relative {
                let at = (self.next_entry * INDEX_ENTRY_BYTES) as u64;
                let what = format!("an entry of offset {} names no batch", self.base_offset + i64::from(offset));
                self.bad_index.get_or_insert(BadEntry { at, what });
            }
            self.next_entry += 1;
        }
        let max = (self.max.timestamp, self.max.offset - self.base_offset);
        if self.time().is_some_and(|time| (time.timestamp, i64::from(time.relative_offset)) == max) {
            self.next_time += 1;
        }
    }

    /// All batches have gone by.
    pub fn finish(&mut self) {
        if let Some((offset, _)) = self.entry() {
            let at = (self.next_entry * INDEX_ENTRY_BYTES) as u64;
            let what = format!("an entry of offset {} names no batch", self.base_offset + i64::from(offset));
            self.bad_index.get_or_insert(BadEntry { at, what });
        }
        if let Some(time) = self.time() {
            let at = (self.next_time * TIME_ENTRY_BYTES) as u64;
            let what = format!("an entry of timestamp {} is of no batch", time.timestamp);
            self.bad_times.get_or_insert(BadEntry { at, what });
        }
    }

    /// The bytes of both files made anew: entries of batches that begin below `limit`, and at the end of a complete
    /// segment the last time entry.
    pub fn made(&self, limit: u32, complete: bool) -> (Bytes, Bytes) {
        let (index, mut times, count) = self.made.encode_pending(limit);
        if complete {
            let mut whole = self.made.clone();
            whole.flushed(count);
            whole.next_time_entry(self.base_offset).into_iter().for_each(|entry| put_time(&mut times, entry));
        }
        (index.into(), times.into())
    }
}
