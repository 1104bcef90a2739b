//! Everything that is to happen at a time, in one table.
//! Must never touch: clocks.

use std::collections::BTreeSet;

use crate::mail::ReqId;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A waiting request's deadline.
    Request(ReqId),
    /// Look for idle connections.
    IdleScan,
    /// Look for connections that do not take their responses while memory is spent.
    SlowScan,
    /// Responses have been held long enough.
    HeldResponses,
    /// Look for produce requests that have waited too long.
    ProduceScan,
    /// Retention, producer expiry.
    Retention,
    /// The coordinators' own timers.
    Groups,
    /// A stop has waited long enough for requests in progress.
    StopGrace,
}

/// The table: moments of the monotonic clock in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(u64, Timer)>,
}

impl Timers {
    pub fn insert(&mut self, at_us: u64, timer: Timer) {
        self.due.insert((at_us, timer));
    }

    pub fn remove(&mut self, at_us: u64, timer: Timer) {
        self.due.remove(&(at_us, timer));
    }

    /// Takes out the first that is due.
    pub fn pop_due(&mut self, now_us: u64) -> Option<Timer> {
        let (at_us, _) = self.due.first()?;
        if *at_us > now_us {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }

    pub fn next_us(&self) -> Option<u64> {
        self.due.first().map(|(at_us, _)| *at_us)
    }
}
