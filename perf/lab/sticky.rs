//! Which partition a record without a key goes to: Kafka's built-in partitioner (KIP-794), which stays with one partition
//! for `batch.size` bytes and then draws the next, more often one whose queue is short; and librdkafka's, which stays for
//! a time.
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

    /// True if partitions are not drawn alike.
    #[cfg(test)]
    pub fn is_weighted(&self) -> bool {
        !self.cumulative.is_empty()
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

/// librdkafka's partitioner of one topic in one producer.
#[derive(Clone, Debug)]
pub struct TimedSticky {
    linger_ns: u64,
    current: usize,
    /// When the current partition was drawn.
    since_ns: Option<u64>,
}

impl TimedSticky {
    /// That stays with a partition for `linger_ns`; 0: each record draws.
    pub fn new(linger_ns: u64) -> TimedSticky {
        TimedSticky { linger_ns, current: 0, since_ns: None }
    }

    /// The partition of a record that comes now, of `partitions`.
    pub fn current(&mut self, now_ns: u64, partitions: usize, rng: &mut Prng) -> usize {
        if self.since_ns.is_none_or(|since| now_ns > since + self.linger_ns || self.linger_ns == 0) {
            self.since_ns = Some(now_ns);
            self.current = rng.below(partitions as u64) as usize;
        }
        self.current
    }
}

/// The CRC-32 of zlib, by which librdkafka places keys.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut place = 0;
        while place < 256 {
            let (mut value, mut bit) = (place as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[place] = value;
            place += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, byte| TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_zlibs_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn librdkafkas_stays_for_a_time() {
        let (mut rng, mut sticky) = (Prng::new(3), TimedSticky::new(10));
        let turns: Vec<usize> = (0..1100).map(|now_ns| sticky.current(now_ns, 1_000, &mut rng)).collect();
        assert!(turns.chunks_exact(11).all(|turn| turn.iter().all(|partition| *partition == turn[0])), "{turns:?}");
        assert!(turns.windows(2).filter(|pair| pair[0] != pair[1]).count() > 90);
    }

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
