//! The deadlines of all groups of one coordinator in one ordered table. Must never touch: clocks, groups.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a deadline is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The join phase of a group ends.
    Join(Arc<str>),
    /// Members of a group that have not synced are taken for gone.
    Sync(Arc<str>),
    /// Look at a member's session (group, member id); the member itself knows the true deadline, which may have moved on.
    Session(Arc<str>, Arc<str>),
    /// Look for offsets and groups to drop.
    Expiry,
}

/// Ordered by deadline, then by content, so that equal deadlines fire in the same order in every run.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(u64, Timer)>,
}

impl Timers {
    pub(crate) fn insert(&mut self, at_us: u64, timer: Timer) {
        self.due.insert((at_us, timer));
    }

    pub(crate) fn remove(&mut self, at_us: u64, timer: Timer) {
        self.due.remove(&(at_us, timer));
    }

    pub(crate) fn next_deadline_us(&self) -> Option<u64> {
        self.due.first().map(|(at_us, _)| *at_us)
    }

    /// The earliest timer that is due, taken out of the table, with its deadline.
    pub(crate) fn pop_due(&mut self, now_us: u64) -> Option<(u64, Timer)> {
        if self.next_deadline_us()? > now_us {
            return None;
        }
        self.due.pop_first()
    }
}
