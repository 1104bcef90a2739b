//! What sequential readers of cold data will ask for next, read before they do: it is found here while it is being read
//! and until somebody takes it.
//! Must never touch: when to read ahead, and what waits for a read (reads.rs).

use std::collections::VecDeque;

use coretide_log::store::{ColdRead, LogKey, ReadReady};

use crate::config::AHEAD_BYTES_MAX;

/// What is smaller than this is not worth a read of its own.
const READ_BYTES: u32 = 1 << 20;
/// Readers that ask for more than this at a time have little to gain.
const LARGE_BYTES: u32 = 4 << 20;

/// How much to read ahead for one who asks for `max_bytes` at a time: some multiple of it, or nothing.
pub(super) fn size_for(max_bytes: u32) -> Option<u32> {
    let fits = (1..=LARGE_BYTES).contains(&max_bytes);
    fits.then(|| max_bytes.saturating_mul((READ_BYTES / max_bytes).max(1)))
}

/// How much to read next where the last read, of `asked_bytes`, found so much. A read ends with the last whole batch, and
/// what it cuts is read again: with batches of a quarter of it, a fourth of all. So it becomes as long as what it finds,
/// and a little longer, until that guess is wrong.
pub(super) fn next_size(full_bytes: u32, asked_bytes: u32, found_bytes: usize) -> u32 {
    let found_bytes = u32::try_from(found_bytes).unwrap_or(full_bytes).min(full_bytes);
    let guessed_wrong = asked_bytes < full_bytes && found_bytes < asked_bytes - asked_bytes / 8;
    // So little ends for another reason.
    if guessed_wrong || found_bytes < full_bytes / 2 {
        return full_bytes;
    }
    full_bytes.min(found_bytes + found_bytes / 16)
}

/// What somebody took of a read ahead.
pub(super) struct Taken {
    pub ready: ReadReady,
    /// The offset behind all that was read with it.
    pub end_offset: i64,
    /// How much was asked for, and how much was found.
    pub asked_bytes: u32,
    pub found_bytes: usize,
}

#[allow(clippy::large_enum_variant)] // there are few
enum State<W> {
    /// And so many wait for it.
    Reading(Vec<W>),
    Ready(ReadReady),
}

struct Ahead<W> {
    key: LogKey,
    from_offset: i64,
    /// Asked for, and counted.
    bytes: u32,
    found_bytes: usize,
    state: State<W>,
}

/// Reads ahead of one shard, the oldest first, with those who wait for them.
pub(super) struct Aheads<W> {
    all: VecDeque<Ahead<W>>,
    bytes: u64,
}

impl<W> Aheads<W> {
    pub fn new() -> Aheads<W> {
        Aheads { all: VecDeque::new(), bytes: 0 }
    }

    fn place(&self, key: LogKey, from_offset: i64) -> Option<usize> {
        self.all.iter().position(|ahead| ahead.key == key && ahead.from_offset == from_offset)
    }

    fn remove(&mut self, at: usize) -> Option<Ahead<W>> {
        let ahead = self.all.remove(at)?;
        self.bytes -= u64::from(ahead.bytes);
        Some(ahead)
    }

    /// A read of up to `bytes` is to begin: makes room for it at the cost of the oldest that nobody has taken. False when
    /// there is no room, or it was read already.
    pub fn begin(&mut self, key: LogKey, from_offset: i64, bytes: u32) -> bool {
        if self.place(key, from_offset).is_some() {
            return false;
        }
        while self.bytes + u64::from(bytes) > AHEAD_BYTES_MAX {
            let is_ready = |ahead: &Ahead<W>| matches!(ahead.state, State::Ready(_));
            let Some(oldest) = self.all.iter().position(is_ready) else { return false };
            self.remove(oldest);
        }
        self.bytes += u64::from(bytes);
        self.all.push_back(Ahead { key, from_offset, bytes, found_bytes: 0, state: State::Reading(Vec::new()) });
        true
    }

    /// A read that was begun is over, and found this, or nothing. Yields who waited for it.
    pub fn finish(&mut self, key: LogKey, from_offset: i64, found: Option<ReadReady>) -> Vec<W> {
        let Some(at) = self.place(key, from_offset) else { return Vec::new() };
        let Some(found) = found else {
            return match self.remove(at).map(|ahead| ahead.state) {
                Some(State::Reading(waiting)) => waiting,
                Some(State::Ready(_)) | None => Vec::new(),
            };
        };
        let ahead = &mut self.all[at];
        ahead.found_bytes = found.bytes;
        match std::mem::replace(&mut ahead.state, State::Ready(found)) {
            State::Reading(waiting) => waiting,
            State::Ready(_) => Vec::new(),
        }
    }

    /// Waits for what is being read; gives the waiter back where nothing is.
    pub fn wait(&mut self, cold: &ColdRead, waiter: W) -> Result<(), W> {
        match self.place(cold.key, cold.from_offset).map(|at| &mut self.all[at].state) {
            Some(State::Reading(waiting)) => {
                waiting.push(waiter);
                Ok(())
            }
            Some(State::Ready(_)) | None => Err(waiter),
        }
    }

    /// What was read for this, within its limits. Stays where it is when the limits allow nothing.
    pub fn take(&mut self, cold: &ColdRead) -> Option<Taken> {
        let at = self.place(cold.key, cold.from_offset)?;
        let Ahead { bytes: asked_bytes, found_bytes, ref state, .. } = self.all[at];
        let State::Ready(ready) = state else { return None };
        let (taken, rest) = cold.take_from(ready);
        if taken.bytes == 0 {
            return None;
        }
        // Where somebody else's read begins at the rest already, that one counts: its offset must find it, and who waits for it.
        let rest = rest.filter(|_| self.place(cold.key, taken.next_offset).is_none());
        let end_offset = rest.as_ref().map_or(taken.next_offset, |rest| rest.next_offset);
        match rest {
            Some(rest) => {
                let ahead = &mut self.all[at];
                (ahead.from_offset, ahead.state) = (taken.next_offset, State::Ready(rest));
            }
            None => drop(self.remove(at)),
        }
        Some(Taken { ready: taken, end_offset, asked_bytes, found_bytes })
    }

    /// A log is gone, and what was read of it. Reads under way end as they do.
    pub fn forget(&mut self, key: LogKey) {
        let goes = |ahead: &Ahead<W>| ahead.key == key && matches!(ahead.state, State::Ready(_));
        self.bytes -= self.all.iter().filter(|ahead| goes(ahead)).map(|ahead| u64::from(ahead.bytes)).sum::<u64>();
        self.all.retain(|ahead| !goes(ahead));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: LogKey = LogKey(1);

    fn ready(bytes: usize, next_offset: i64) -> ReadReady {
        ReadReady { bytes, next_offset, ..ReadReady::default() }
    }

    #[test]
    fn what_is_read_at_a_time_is_a_multiple_of_what_is_asked_for() {
        assert_eq!(
            [0, 1, 300 << 10, 1 << 20, 3 << 20, 4 << 20].map(size_for),
            [None, Some(1 << 20), Some(900 << 10), Some(1 << 20), Some(3 << 20), Some(4 << 20)]
        );
        assert_eq!([(4 << 20) + 1, u32::MAX].map(size_for), [None, None]);
    }

    #[test]
    fn a_read_becomes_as_long_as_what_the_last_one_found_until_that_was_too_short() {
        const FULL: u32 = 1 << 20;
        let three = 3 * 262_272;
        let guess = next_size(FULL, FULL, three);
        assert_eq!(guess, 835_992);
        assert_eq!(next_size(FULL, guess, three), guess, "all batches are alike");
        assert_eq!(next_size(FULL, guess, 800_000), 850_000, "four fit now");
        assert_eq!(next_size(FULL, guess, 2 * 300_000), FULL, "only two did: the guess was wrong");
        assert_eq!(next_size(FULL, FULL, 1_040_000), FULL, "batches so small that hardly anything is cut");
        assert_eq!([0, 5000, FULL as usize / 2 - 1].map(|found| next_size(FULL, FULL, found)), [FULL; 3]);
        assert_eq!(next_size(FULL, FULL, usize::MAX), FULL);
    }

    #[test]
    fn the_oldest_that_nobody_took_makes_room_and_what_is_being_read_never_does() {
        let mut aheads: Aheads<u8> = Aheads::new();
        let most = AHEAD_BYTES_MAX / u64::from(READ_BYTES);
        for from_offset in 0..most as i64 {
            assert!(aheads.begin(KEY, from_offset, READ_BYTES));
            assert!(!aheads.begin(KEY, from_offset, READ_BYTES), "once");
        }
        assert!(!aheads.begin(KEY, 100, READ_BYTES), "all are being read");
        for from_offset in [3, 1] {
            assert!(aheads.finish(KEY, from_offset, Some(ready(10, 50))).is_empty());
        }
        assert!(aheads.begin(KEY, 100, READ_BYTES));
        assert!(!aheads.begin(KEY, 3, READ_BYTES), "it is there");
        assert!(aheads.begin(KEY, 1, READ_BYTES), "it made room, and now what was at 3 does");
        assert!(!aheads.begin(KEY, 3, READ_BYTES), "all are being read again");
        assert_eq!(aheads.bytes, AHEAD_BYTES_MAX);
    }

    #[test]
    fn a_read_that_found_nothing_leaves_nothing_and_a_log_that_is_gone_only_what_is_being_read() {
        let mut aheads: Aheads<u8> = Aheads::new();
        for (key, from_offset) in [(KEY, 1), (KEY, 2), (KEY, 3), (LogKey(2), 1)] {
            assert!(aheads.begin(key, from_offset, READ_BYTES));
        }
        assert!(aheads.finish(KEY, 1, None).is_empty());
        assert_eq!(aheads.place(KEY, 1), None);
        aheads.finish(KEY, 2, Some(ready(1, 9)));
        aheads.finish(LogKey(2), 1, Some(ready(1, 9)));
        aheads.forget(KEY);
        assert_eq!(
            [(KEY, 2), (KEY, 3), (LogKey(2), 1)].map(|(key, at)| aheads.place(key, at).is_some()),
            [false, true, true]
        );
        assert_eq!(aheads.bytes, 2 * u64::from(READ_BYTES));
        assert!(aheads.finish(KEY, 77, Some(ready(1, 78))).is_empty(), "nobody began it");
    }
}
