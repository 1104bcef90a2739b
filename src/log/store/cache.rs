//! The memory of frozen append buffers: size classes to take them from, and the order in which they are let go.
//! Must never touch: what may be dropped (the log decides), readers' own references.

use std::collections::VecDeque;

use coretide_stdx::aligned::{AlignedBuf, BufPool};
use smallvec::SmallVec;

use super::api::{CommitSeq, LogKey};

/// The smallest class; each next one is twice as large.
const SMALLEST_BYTES: usize = 4096;
const CLASSES: usize = 11;
/// Free bytes kept at most, of all classes together.
const KEEP_BYTES: usize = 16 << 20;

/// A log with much to let go has pieces in most commits: the next one is looked for in so many places before all are searched.
const NEAR: usize = 4;

/// Pools of buffers in powers of two, so that a buffer is at most twice as large as what it holds.
pub struct Pools {
    classes: [BufPool; CLASSES],
}

impl Pools {
    /// Empty pools.
    pub fn new() -> Pools {
        Pools { classes: BufPool::family(std::array::from_fn(|n| SMALLEST_BYTES << n), KEEP_BYTES) }
    }

    /// The pool of the smallest buffers of at least `bytes`; of the largest, where none are.
    pub fn class(&self, bytes: usize) -> &BufPool {
        let class = bytes.div_ceil(SMALLEST_BYTES).next_power_of_two().trailing_zeros() as usize;
        &self.classes[class.min(CLASSES - 1)]
    }

    /// An empty buffer of at least `bytes`.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        self.class(bytes).take(bytes)
    }
}

/// The buffers of one commit.
#[derive(Debug)]
pub struct Cached {
    /// The commit.
    pub commit: CommitSeq,
    /// Memory that goes when the last log lets go.
    pub buffer_bytes: usize,
    /// How much of it logs still use.
    pub used_bytes: usize,
    /// The logs with batches in it.
    pub keys: SmallVec<[LogKey; 4]>,
}

#[derive(Debug)]
struct Entry {
    cached: Cached,
    /// Memory of another place that goes when this commit goes.
    charged_bytes: usize,
}

/// The buffers in the order in which they go: oldest first.
#[derive(Debug, Default)]
pub struct Cache {
    queue: VecDeque<Entry>,
    bytes: usize,
    reserved_bytes: usize,
}

impl Cache {
    /// A commit's buffers are in memory.
    pub fn push(&mut self, cached: Cached) {
        assert!(self.queue.back().is_none_or(|newest| newest.cached.commit < cached.commit), "commits come in order");
        self.bytes += cached.buffer_bytes;
        self.queue.push_back(Entry { cached, charged_bytes: 0 });
    }

    /// Bytes held, and those that are reserved.
    pub fn bytes(&self) -> usize {
        self.bytes + self.reserved_bytes
    }

    /// The oldest commit's buffers.
    pub fn oldest(&self) -> Option<&Cached> {
        self.queue.front().map(|entry| &entry.cached)
    }

    /// The oldest commit's buffers are let go.
    pub fn pop(&mut self) {
        if let Some(entry) = self.queue.pop_front() {
            self.bytes -= entry.cached.buffer_bytes + entry.charged_bytes;
        }
    }

    /// True for a commit whose buffers are held: all from the oldest on.
    pub fn has(&self, commit: CommitSeq) -> bool {
        self.oldest().is_some_and(|oldest| oldest.commit <= commit)
    }

    /// A log does not use so many bytes of these commits' buffers any more. The commits ascend.
    pub fn let_go(&mut self, pieces: impl Iterator<Item = (CommitSeq, usize)>) {
        let mut from = 0;
        for (commit, bytes) in pieces {
            let is_before = |entry: &Entry| entry.cached.commit < commit;
            let near = (from..from + NEAR).find(|&at| self.queue.get(at).is_none_or(|entry| !is_before(entry)));
            from = near.unwrap_or_else(|| self.queue.partition_point(is_before));
            let Some(Entry { cached, .. }) = self.queue.get_mut(from).filter(|it| it.cached.commit == commit) else {
                continue;
            };
            cached.used_bytes -= bytes;
            if cached.used_bytes == 0 {
                self.bytes -= std::mem::take(&mut cached.buffer_bytes);
            }
        }
    }

    /// So many bytes more are held until the commit goes.
    pub fn charge(&mut self, commit: CommitSeq, bytes: usize) {
        let Some(at) = self.place(commit) else { return };
        self.queue[at].charged_bytes += bytes;
        self.bytes += bytes;
    }

    /// Something that is on its way may hold so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.reserved_bytes += bytes;
    }

    /// It has come.
    pub fn unreserve(&mut self, bytes: usize) {
        self.reserved_bytes -= bytes;
    }

    fn place(&self, commit: CommitSeq) -> Option<usize> {
        self.queue.binary_search_by_key(&commit, |entry| entry.cached.commit).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(commit: CommitSeq, buffer_bytes: usize, used_bytes: usize) -> Cached {
        Cached { commit, buffer_bytes, used_bytes, keys: SmallVec::new() }
    }

    #[test]
    fn a_buffer_goes_with_the_last_piece_that_a_log_uses_of_it() {
        let mut cache = Cache::default();
        assert!(!cache.has(1) && cache.bytes() == 0);
        (10..60).for_each(|commit| cache.push(cached(commit, 1000, 300)));
        assert_eq!([9, 10, 11, 59].map(|commit| cache.has(commit)), [false, true, true, true]);
        // Side by side, far apart, and of commits that are not held.
        cache.let_go([(5, 300), (10, 100), (11, 300), (50, 300), (70, 1)].into_iter());
        assert_eq!(cache.bytes(), 48_000);
        cache.let_go([(10, 200), (51, 299), (59, 300)].into_iter());
        assert_eq!(cache.bytes(), 46_000);
        cache.let_go([(51, 1)].into_iter());
        assert_eq!(cache.bytes(), 45_000);
    }

    #[test]
    fn what_is_charged_and_reserved_is_held_too() {
        let mut cache = Cache::default();
        cache.push(cached(1, 1000, 10));
        cache.push(cached(3, 500, 10));
        cache.charge(3, 70);
        cache.charge(2, 9999);
        assert_eq!(cache.bytes(), 1570);
        cache.reserve(30);
        cache.reserve(4);
        assert_eq!(cache.bytes(), 1604);
        cache.unreserve(30);
        cache.pop();
        assert_eq!((cache.bytes(), cache.oldest().map(|oldest| oldest.commit)), (574, Some(3)));
        cache.pop();
        assert_eq!((cache.bytes(), cache.oldest().is_none()), (4, true));
    }

    #[test]
    fn a_buffer_is_at_most_twice_as_large_as_what_it_holds() {
        let pools = Pools::new();
        for bytes in [1, SMALLEST_BYTES, SMALLEST_BYTES + 1, 100_000, 1 << 20, (1 << 20) + 1] {
            let room = pools.take(bytes).capacity();
            assert!(room >= bytes && (room < 2 * bytes || room == SMALLEST_BYTES), "{room} for {bytes}");
        }
        let largest = SMALLEST_BYTES << (CLASSES - 1);
        assert_eq!(pools.class(10 * largest).buffer_bytes(), largest);
        assert!(pools.take(largest + 1).capacity() > largest);
    }

    /// A buffer that was used before still has its bytes; a new one has zeros.
    #[test]
    fn free_buffers_are_kept_up_to_16_mib_of_all_classes_together() {
        let pools = Pools::new();
        let mib = 1 << 20;
        let take = || (0..20).map(|n| pools.take(if n < 12 { mib } else { 2 * mib })).collect::<Vec<_>>();
        let mut buffers = take();
        buffers.iter_mut().for_each(|buffer| buffer.whole_mut()[0] = 7);
        drop(buffers);
        let kept: usize =
            take().iter_mut().map(|buffer| if buffer.whole_mut()[0] == 7 { buffer.capacity() } else { 0 }).sum();
        assert_eq!(kept, 16 * mib);
    }
}
