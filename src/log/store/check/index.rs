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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::world::batch_of;

    const BASE: i64 = 50;
    const SIZE: u32 = 1000;

    fn bytes_of(entries: &[(u32, u32)], times: &[(i64, u32)]) -> (Bytes, Bytes) {
        let entries = entries.iter().flat_map(|(offset, at)| [offset.to_be_bytes(), at.to_be_bytes()].concat());
        let mut out = Vec::new();
        for &(timestamp, relative_offset) in times {
            put_time(&mut out, TimeEntry { timestamp, relative_offset });
        }
        (entries.collect::<Vec<u8>>().into(), out.into())
    }

    /// Ten batches of one record go by, whose timestamps ascend to that of the sixth, which comes again in all that follow.
    fn checked(entries: &[(u32, u32)], times: &[(i64, u32)]) -> IndexCheck {
        let (index, times) = bytes_of(entries, times);
        let (index_bytes, time_bytes) = (index.len() as u32, times.len() as u32);
        let mut check = IndexCheck::new(BASE, 1024, (index, index_bytes), (times, time_bytes));
        let header = *batch_of(SIZE as usize).header();
        for n in 0..10 {
            let header = BatchHeader { base_offset: BASE + n, max_timestamp: 100 + n.min(5), ..header };
            check.note(n as u32 * SIZE, &header);
        }
        check.finish();
        check
    }

    /// Where the first wrong entry of each file is.
    fn bad(entries: &[(u32, u32)], times: &[(i64, u32)]) -> (Option<u64>, Option<u64>) {
        let check = checked(entries, times);
        (check.bad_index.map(|bad| bad.at), check.bad_times.map(|bad| bad.at))
    }

    #[test]
    fn entries_are_good_when_each_names_a_batch_in_order() {
        assert_eq!(bad(&[], &[]), (None, None));
        assert_eq!(bad(&[(2, 2000), (4, 4000), (9, 9000)], &[(102, 2), (104, 4), (105, 5)]), (None, None));
        assert_eq!(bad(&[(2, 2000), (5, 4000)], &[]), (Some(8), None), "another offset");
        assert_eq!(bad(&[(2, 2000), (4, 4001)], &[]), (Some(8), None), "no batch begins there");
        assert_eq!(bad(&[(2, 2000), (4, 3999)], &[]), (Some(8), None), "nor there");
        assert_eq!(bad(&[(2, 2000), (4, 4000), (10, 10_000)], &[]), (Some(16), None), "behind the end");
        assert_eq!(bad(&[(4, 4000), (2, 2000)], &[]), (Some(8), None), "not in order");
        assert_eq!(bad(&[], &[(102, 2), (104, 5)]), (None, Some(12)), "another batch has that timestamp");
        assert_eq!(bad(&[], &[(102, 2), (104, 4), (106, 9)]), (None, Some(24)), "nothing has that timestamp");
        assert_eq!(bad(&[], &[(102, 2), (105, 6)]), (None, Some(12)), "of equal timestamps the first counts");
    }

    #[test]
    fn a_file_that_is_too_short_is_bad_at_its_end() {
        let (index, times) = bytes_of(&[(2, 2000)], &[(102, 2)]);
        let check = IndexCheck::new(BASE, 1024, (index.clone(), 8), (times.clone(), 12));
        assert_eq!((check.bad_index, check.bad_times), (None, None));
        let check = IndexCheck::new(BASE, 1024, (index, 16), (times, 24));
        assert_eq!((check.bad_index.map(|bad| bad.at), check.bad_times.map(|bad| bad.at)), (Some(8), Some(12)));
    }

    #[test]
    fn what_is_made_anew_is_what_the_batches_say_up_to_a_limit() {
        let check = checked(&[], &[]);
        // More than 1,024 bytes apart is every second one.
        let all = ([(2, 2000), (4, 4000), (6, 6000), (8, 8000)], [(102, 2), (104, 4), (105, 5)]);
        assert_eq!(check.made(u32::MAX, true), bytes_of(&all.0, &all.1));
        assert_eq!(check.made(4001, false), bytes_of(&all.0[..2], &all.1[..2]));
        assert_eq!(check.made(4000, false), bytes_of(&all.0[..1], &all.1[..1]));
    }
}
