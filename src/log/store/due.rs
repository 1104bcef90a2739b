//! Which logs are to be destaged, and in which order.
//! Must never touch: how a destage is planned and what it does.

use std::collections::{BTreeSet, VecDeque};

use super::Store;
use super::api::LogKey;

/// Logs with a reason to be destaged, the one that has had it longest first.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    queue: VecDeque<LogKey>,
    members: BTreeSet<LogKey>,
}

impl Wanted {
    pub fn insert(&mut self, key: LogKey) {
        if self.members.insert(key) {
            self.queue.push_back(key);
        }
    }

    pub fn pop(&mut self) -> Option<LogKey> {
        let key = self.queue.pop_front()?;
        self.members.remove(&key);
        Some(key)
    }

    pub fn remove(&mut self, key: LogKey) {
        if self.members.remove(&key) {
            self.queue.retain(|other| *other != key);
        }
    }

    #[cfg(test)]
    pub fn contains(&self, key: LogKey) -> bool {
        self.members.contains(&key)
    }

    #[cfg(test)]
    pub fn clear(&mut self) {
        *self = Wanted::default();
    }
}

impl FromIterator<LogKey> for Wanted {
    fn from_iter<I: IntoIterator<Item = LogKey>>(keys: I) -> Wanted {
        let mut wanted = Wanted::default();
        keys.into_iter().for_each(|key| wanted.insert(key));
        wanted
    }
}

impl Store {
    /// Only the journal holds some of this log from now on.
    pub(super) fn note_undestaged(&mut self, key: LogKey) {
        let since = self.journal_bytes;
        let Some(log) = self.log_mut(key) else { return };
        if log.waits_since.is_none() {
            log.waits_since = Some(since);
            self.waiting.insert((since, key));
            self.undestaged.insert(key);
        }
    }

    /// What the log has now is being destaged; what comes later begins to wait then.
    pub(super) fn stop_waiting(&mut self, key: LogKey) {
        if let Some(since) = self.log_mut(key).and_then(|log| log.waits_since.take()) {
            self.waiting.remove(&(since, key));
        }
    }

    /// Has logs destaged that have waited for as long as any may, however little they have. Many logs that grow at the same
    /// pace would otherwise all become due at once, and appends would wait until the last of them is done: commits hold
    /// parts of all of them.
    pub(super) fn ripen(&mut self) {
        let wait_max_bytes = self.limits.destage_wait_bytes();
        while let Some(&(since, key)) = self.waiting.first() {
            if self.journal_bytes - since < wait_max_bytes {
                break;
            }
            self.stop_waiting(key);
            let committed = self.committed;
            let Some(log) = self.log_mut(key) else { continue };
            if log.offline.is_some() {
                continue;
            }
            match log.has_destage_work(committed) {
                true => self.want_destage.insert(key),
                // Less than a block: a checkpoint carries it.
                false => self.note_undestaged(key),
            }
        }
    }
}

#[cfg(test)]
mod tests;
