//! One-shot watches: who waits for a partition's readable end to move past an offset. Whoever is woken reads again and, if
//! need be, watches again. Must never touch: what the tokens mean.

use std::collections::BTreeMap;

/// Watches one partition holds. Beyond it the watch that was waiting for the lowest offset is woken early, which is
/// always allowed.
pub const WATCHES_MAX: usize = 65_536;

/// The waiters of one mark (high watermark or last stable offset) of one partition.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_offset: BTreeMap<(i64, u64), ()>,
    by_token: BTreeMap<u64, i64>,
}

impl Watches {
    /// Wakes `token` when the mark passes `offset`. A token watches one offset; a second call replaces the first.
    /// Returns the token that must be woken at once because the table is full.
    pub fn add(&mut self, offset: i64, token: u64) -> Option<u64> {
        self.remove(token);
        self.by_offset.insert((offset, token), ());
        self.by_token.insert(token, offset);
        if self.by_token.len() <= WATCHES_MAX {
            return None;
        }
        let ((_, evicted), ()) = self.by_offset.pop_first()?;
        self.by_token.remove(&evicted);
        Some(evicted)
    }

    /// Takes a watch back; an unknown token is fine.
    pub fn remove(&mut self, token: u64) {
        if let Some(offset) = self.by_token.remove(&token) {
            self.by_offset.remove(&(offset, token));
        }
    }

    /// Takes out those that waited for an offset below `mark`, the lowest offset first.
    pub fn wake_below(&mut self, mark: i64, woken: &mut Vec<u64>) {
        while let Some(entry) = self.by_offset.first_entry() {
            let (offset, token) = *entry.key();
            if offset >= mark {
                return;
            }
            entry.remove();
            self.by_token.remove(&token);
            woken.push(token);
        }
    }

    /// Takes out all.
    pub fn wake_all(&mut self, woken: &mut Vec<u64>) {
        self.wake_below(i64::MAX, woken);
        debug_assert!(self.by_token.is_empty(), "no offset is i64::MAX");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(watches: &mut Watches, mark: i64) -> Vec<u64> {
        let mut tokens = Vec::new();
        watches.wake_below(mark, &mut tokens);
        tokens
    }

    #[test]
    fn watches_fire_once_when_the_mark_passes_their_offset() {
        let mut watches = Watches::default();
        for (offset, token) in [(10, 1), (5, 2), (10, 3), (11, 4)] {
            assert_eq!(watches.add(offset, token), None);
        }
        assert_eq!(woken(&mut watches, 10), vec![2]);
        watches.remove(3);
        watches.remove(99);
        assert_eq!(woken(&mut watches, 11), vec![1]);
        assert_eq!(woken(&mut watches, 11), Vec::<u64>::new());
        watches.add(20, 4);
        assert_eq!(woken(&mut watches, 15), Vec::<u64>::new(), "the second watch of a token replaces the first");
        let mut all = Vec::new();
        watches.wake_all(&mut all);
        assert_eq!(all, vec![4]);
    }

    #[test]
    fn a_full_table_wakes_the_lowest_early() {
        let mut watches = Watches::default();
        for token in 0..WATCHES_MAX as u64 {
            assert_eq!(watches.add(1000 + token as i64, token), None);
        }
        assert_eq!(watches.add(5000, u64::MAX), Some(0));
        assert_eq!(watches.by_token.len(), WATCHES_MAX);
        assert_eq!(watches.by_offset.len(), WATCHES_MAX);
    }
}
