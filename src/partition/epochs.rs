//! The leader epochs of one partition and where each began: what truncation detection and ListOffsets read (KIP-101,
//! KIP-320). Monotone in epoch and in offset. Must never touch: the log's bytes; whoever appends says where epochs begin.

/// Epochs one partition remembers. Beyond it the oldest are forgotten, and answers about them name the first known one.
pub const EPOCHS_MAX: usize = 4096;

/// One leader epoch and the first offset that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// The first offset appended (or that would be appended) under it.
    pub start_offset: i64,
}

/// The answer to "where does this epoch end here": OffsetForLeaderEpochResponse's `leader_epoch` and `end_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch known here that is not above the asked one; -1 when there is no answer.
    pub epoch: i32,
    /// The offset after that epoch's last one; -1 when there is no answer.
    pub end_offset: i64,
}

impl EpochEnd {
    /// No answer: the asked epoch is above all that are known here.
    pub const UNDEFINED: EpochEnd = EpochEnd { epoch: -1, end_offset: -1 };
}

/// The leader epochs of one partition, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochStart>,
}

impl EpochCache {
    /// Notes that `epoch` begins at `start_offset`. Known or older epochs change nothing, so replay may repeat itself.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) {
        if self.entries.last().is_some_and(|last| epoch <= last.epoch) {
            return;
        }
        // A crash may take back what an older epoch had appended; what began above the new start never existed.
        while self.entries.last().is_some_and(|last| last.start_offset > start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start_offset });
        if self.entries.len() > EPOCHS_MAX {
            self.entries.remove(0);
        }
    }

    /// Forgets epochs that end at or below the log start; the one that holds the log start then begins there.
    pub fn truncate_start(&mut self, log_start_offset: i64) {
        let keep_from = self.entries.partition_point(|entry| entry.start_offset <= log_start_offset).saturating_sub(1);
        self.entries.drain(..keep_from);
        if let Some(first) = self.entries.first_mut() {
            first.start_offset = first.start_offset.max(log_start_offset);
        }
    }

    /// Forgets epochs that begin above `end_offset`: after a crash the log may end before the last one noted.
    pub fn truncate_end(&mut self, end_offset: i64) {
        while self.entries.last().is_some_and(|last| last.start_offset > end_offset) {
            self.entries.pop();
        }
    }

    /// The newest epoch, if any is known.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The epoch that `offset` belongs to; none below the first known one.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|place| self.entries[place].epoch)
    }

    /// Where `asked` ends here (E1, KIP-279): the newest epoch ends at `log_end_offset`.
    pub fn end_of(&self, asked: i32, log_end_offset: i64) -> EpochEnd {
        let Some(latest) = self.entries.last() else { return EpochEnd::UNDEFINED };
        if asked < 0 {
            return EpochEnd::UNDEFINED;
        }
        if asked == latest.epoch {
            return EpochEnd { epoch: asked, end_offset: log_end_offset };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= asked);
        let Some(next) = self.entries.get(above) else { return EpochEnd::UNDEFINED };
        let epoch = above.checked_sub(1).map_or(asked, |place| self.entries[place].epoch);
        EpochEnd { epoch, end_offset: next.start_offset }
    }

    /// The entry that `offset` belongs to and all younger ones.
    pub fn entries_from(&self, offset: i64) -> &[EpochStart] {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        &self.entries[after.saturating_sub(1)..]
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for &(epoch, start) in entries {
            cache.assign(epoch, start);
        }
        cache
    }

    fn end(epoch: i32, end_offset: i64) -> EpochEnd {
        EpochEnd { epoch, end_offset }
    }

    #[test]
    fn e1_every_kind_of_question() {
        let cache = cache(&[(2, 10), (4, 30), (7, 50)]);
        assert_eq!(cache.end_of(7, 80), end(7, 80), "the newest ends at the log's end");
        assert_eq!(cache.end_of(5, 80), end(4, 50), "between two: the lower one, up to the next");
        assert_eq!(cache.end_of(4, 80), end(4, 50));
        assert_eq!(cache.end_of(1, 80), end(1, 10), "below all: the asked one ends where the first begins");
        assert_eq!(cache.end_of(8, 80), EpochEnd::UNDEFINED, "above all");
        assert_eq!(cache.end_of(-1, 80), EpochEnd::UNDEFINED);
        assert_eq!(EpochCache::default().end_of(0, 80), EpochEnd::UNDEFINED);
    }

    #[test]
    fn an_answer_that_is_none_has_kafkas_numbers_and_an_empty_epoch_ends_where_it_began() {
        assert_eq!((EpochEnd::UNDEFINED.epoch, EpochEnd::UNDEFINED.end_offset), (-1, -1));
        let cache = cache(&[(2, 5), (4, 10), (5, 10)]);
        assert_eq!((cache.end_of(4, 20), cache.end_of(5, 20)), (end(4, 10), end(5, 20)));
        assert_eq!(self::cache(&[(0, 0), (3, 10)]).end_of(0, 20), end(0, 10), "0 is an epoch");
    }

    #[test]
    fn an_epoch_that_begins_at_the_end_is_kept_and_entries_begin_with_the_offsets_own() {
        let mut cache = cache(&[(2, 10), (4, 30), (7, 50)]);
        let first = |offset| cache.entries_from(offset).iter().map(|entry| entry.epoch).collect::<Vec<_>>();
        assert_eq!([first(5), first(29), first(30), first(49)], [vec![2, 4, 7], vec![2, 4, 7], vec![4, 7], vec![4, 7]]);
        cache.truncate_end(30);
        assert_eq!(cache.latest(), Some(EpochStart { epoch: 4, start_offset: 30 }));
    }

    #[test]
    fn the_oldest_epoch_goes_when_there_are_too_many() {
        let mut cache = EpochCache::default();
        for n in 0..EPOCHS_MAX as i32 + 3 {
            cache.assign(n, i64::from(n) * 10);
        }
        assert_eq!((cache.entries().len(), cache.entries()[0].epoch), (EPOCHS_MAX, 3));
    }

    #[test]
    fn older_epochs_change_nothing_and_truncation_keeps_what_holds_the_edge() {
        let mut cache = cache(&[(2, 10), (4, 30), (7, 50)]);
        cache.assign(4, 60);
        cache.assign(7, 70);
        assert_eq!(cache.entries().len(), 3);
        cache.truncate_start(35);
        assert_eq!(cache.entries()[0], EpochStart { epoch: 4, start_offset: 35 });
        assert_eq!((cache.epoch_of(34), cache.epoch_of(35), cache.epoch_of(50)), (None, Some(4), Some(7)));
        cache.truncate_end(49);
        assert_eq!(cache.latest(), Some(EpochStart { epoch: 4, start_offset: 35 }));
        cache.truncate_start(1000);
        assert_eq!(cache.latest(), Some(EpochStart { epoch: 4, start_offset: 1000 }));
    }

    proptest! {
        /// L6: monotone in both, whatever happens to it, and never above the limit.
        #[test]
        fn stays_monotone(steps in proptest::collection::vec((0u8..3, 0i32..40, 0i64..100), 0..60)) {
            let mut cache = EpochCache::default();
            for (what, epoch, offset) in steps {
                match what {
                    0 => cache.assign(epoch, offset),
                    1 => cache.truncate_start(offset),
                    _ => cache.truncate_end(offset),
                }
                for pair in cache.entries().windows(2) {
                    prop_assert!(pair[0].epoch < pair[1].epoch);
                    prop_assert!(pair[0].start_offset <= pair[1].start_offset);
                }
            }
        }

        /// Every offset's epoch is the one of the entry a walk from the front would choose.
        #[test]
        fn lookups_agree_with_a_walk(starts in proptest::collection::vec(0i64..50, 1..10), asked in 0i64..60) {
            let mut sorted = starts.clone();
            sorted.sort_unstable();
            let mut cache = EpochCache::default();
            for (epoch, start) in sorted.iter().enumerate() {
                cache.assign(epoch as i32, *start);
            }
            let mut walked = None;
            for (epoch, start) in sorted.iter().enumerate() {
                if *start <= asked {
                    walked = Some(epoch as i32);
                }
            }
            prop_assert_eq!(cache.epoch_of(asked), walked);
        }
    }
}
