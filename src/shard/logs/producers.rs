//! How many idempotent producers this shard remembers over all its partitions, and which are forgotten when they are too
//! many: the longest idle of the partition that has most, so that one topic's flood does not cost another one's producers.
//! Must never touch: what is known of a producer.

use super::Logs;

/// A running count, set right now and then.
#[derive(Debug)]
pub(super) struct Count {
    all: usize,
    max: usize,
}

impl Count {
    pub fn new(max: usize) -> Count {
        Count { all: 0, max }
    }

    /// A partition had so many before an append, and has so many now.
    pub fn note(&mut self, before: usize, now: usize) {
        self.all = (self.all + now).saturating_sub(before);
    }
}

impl Logs {
    /// Counts anew: expiry, recovery and deletions are not noted one by one.
    pub(super) fn recount_producers(&mut self) {
        self.producers.all = self.partitions.values().map(|partition| partition.producers().len()).sum();
    }

    /// Forgets producers until there are few enough; how many were forgotten.
    pub(super) fn forget_producers(&mut self) -> usize {
        if self.producers.all <= self.producers.max {
            return 0;
        }
        self.recount_producers();
        let before = self.producers.all;
        while self.producers.all > self.producers.max {
            let Some(most) = self.partitions.values_mut().max_by_key(|partition| partition.producers().len()) else {
                break;
            };
            let known = most.producers().len();
            most.forget_idle_producers(known - 1);
            self.producers.note(known, most.producers().len());
        }
        before - self.producers.all
    }
}
