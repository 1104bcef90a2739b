//! Which partition a record without a key goes to: Kafka's built-in partitioner (KIP-794). It stays with one partition
//! for `batch.size` bytes and then draws the next, more often one whose queue is short.
//! Must never touch: records, batches.

use coretide_stdx::prng::Prng;

/// The partitioner of one topic in one producer.
#[derive(Clone, Debug)]
pub struct Sticky {
    /// Bytes that one partition gets before the next one's turn.
    sticky_bytes: u64,
    current: Option<usize>,
    produced_bytes: u64,
    /// Running sums of each partition's weight; empty: all alike.
    cumulative: Vec<u64>,
}

impl Sticky {
    /// For batches of that size.
    pub fn new(batch_size: u32) -> Sticky {
        let sticky_bytes = u64::from(batch_size.max(1));
        Sticky { sticky_bytes, current: None, produced_bytes: 0, cumulative: Vec::new() }
    }

    /// The partition whose turn it is, of `partitions`.
    pub fn current(&mut self, partitions: usize, rng: &mut Prng) -> usize {
        match self.current {
            Some(current) => current,
            None => self.switch(partitions, rng),
        }
    }

    /// Counts what was appended to the current partition. It moves on after `sticky_bytes` where no batch is left
    /// half full by that (`all_full`), and after twice as many in any case.
    pub fn appended(&mut self, bytes: u64, all_full: bool, partitions: usize, rng: &mut Prng) {
        self.produced_bytes += bytes;
        if self.due(all_full) {
            self.switch(partitions, rng);
        }
    }

    /// Moves on if the switch was only put off because of a batch that has left meanwhile; true if it did.
    pub fn moved_on(&mut self, all_full: bool, partitions: usize, rng: &mut Prng) -> bool {
        let due = self.due(all_full);
        if due {
            self.switch(partitions, rng);
        }
        due
    }

    fn due(&self, all_full: bool) -> bool {
        self.produced_bytes >= self.sticky_bytes && all_full || self.produced_bytes >= 2 * self.sticky_bytes
    }

    /// How many batches wait in each partition's queue: longer queues are drawn less often.
    pub fn queue_sizes(&mut self, sizes: impl Iterator<Item = usize> + Clone) {
        self.cumulative.clear();
        let longest = sizes.clone().max().unwrap_or(0);
        if sizes.clone().all(|size| size == longest) {
            return;
        }
        let mut sum = 0;
        for size in sizes {
            sum += (longest + 1 - size) as u64;
            self.cumulative.push(sum);
        }
    }

    fn switch(&mut self, partitions: usize, rng: &mut Prng) -> usize {
        let next = match self.cumulative.last() {
            Some(&total) if self.cumulative.len() == partitions => {
                let drawn = rng.below(total);
                self.cumulative.partition_point(|&sum| sum <= drawn)
            }
            _ => rng.below(partitions as u64) as usize,
        };
        self.produced_bytes = 0;
        self.current = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_for_a_batch_and_then_moves() {
        let mut rng = Prng::new(3);
        let mut sticky = Sticky::new(1000);
        let first = sticky.current(8, &mut rng);
        for _ in 0..9 {
            sticky.appended(100, true, 8, &mut rng);
            assert_eq!(sticky.current(8, &mut rng), first);
        }
        // A half-full batch puts the switch off, until twice the size.
        sticky.appended(100, false, 8, &mut rng);
        assert_eq!(sticky.produced_bytes, 1000);
        assert!(!sticky.moved_on(false, 8, &mut rng));
        assert!(sticky.moved_on(true, 8, &mut rng));
        assert_eq!(sticky.produced_bytes, 0);
        sticky.appended(2000, false, 8, &mut rng);
        assert_eq!(sticky.produced_bytes, 0);
    }

    #[test]
    fn long_queues_are_drawn_less_often() {
        let mut rng = Prng::new(5);
        let mut sticky = Sticky::new(1);
        sticky.queue_sizes([0usize, 3, 0].into_iter());
        let mut seen = [0; 3];
        for _ in 0..9000 {
            seen[sticky.switch(3, &mut rng)] += 1;
        }
        // Weights 4 : 1 : 4.
        assert!((900..1100).contains(&seen[1]), "{seen:?}");
        assert!((3800..4200).contains(&seen[0]), "{seen:?}");
        sticky.queue_sizes([2usize, 2, 2].into_iter());
        assert!(sticky.cumulative.is_empty());
    }
}
