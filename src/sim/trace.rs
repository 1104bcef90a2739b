//! The fingerprint of a run: two runs of one seed must have the same.

/// Like FNV-1a, eight bytes at a time, over everything that happened, in order.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0 }
    }
}

impl Trace {
    /// Notes that `what` happened at `at_us`, with a number and bytes that describe it.
    pub fn note(&mut self, at_us: u64, what: u8, number: u64, bytes: &[u8]) {
        self.events += 1;
        self.feed_word(at_us);
        self.feed_word(u64::from(what));
        self.feed_word(number);
        self.feed_word(bytes.len() as u64);
        self.feed(bytes);
    }

    /// The fingerprint so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn feed(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            self.feed_word(u64::from_le_bytes(*eight));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.feed_word(u64::from_le_bytes(last));
        }
    }

    /// The multiplication carries upwards only; the shift brings it down again.
    fn feed_word(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
        self.hash = mixed ^ (mixed >> 32);
    }
}
