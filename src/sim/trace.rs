//! The fingerprint of a run: two runs of one seed must have the same.

/// FNV-1a over everything that happened, in order.
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
        self.feed(&at_us.to_le_bytes());
        self.feed(&[what]);
        self.feed(&number.to_le_bytes());
        self.feed(&(bytes.len() as u64).to_le_bytes());
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
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
