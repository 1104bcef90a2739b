//! The memory of frozen append buffers: size classes to take them from, and the order in which they are let go.
//! Must never touch: what may be dropped (the log decides), readers' own references.

use std::collections::VecDeque;

use coretide_stdx::aligned::{AlignedBuf, BufPool};
use smallvec::SmallVec;

use super::api::{CommitSeq, LogKey};

/// The smallest class; each next one is twice as large.
const SMALLEST_BYTES: usize = 4096;
const CLASSES: usize = 11;
/// Free bytes kept per class at most, and buffers.
const KEEP_BYTES: usize = 8 << 20;
const KEEP_BUFFERS: usize = 64;

/// Pools of buffers in powers of two, so that a buffer is at most twice as large as what it holds.
pub struct Pools {
    classes: Vec<BufPool>,
}

impl Pools {
    /// Empty pools.
    pub fn new() -> Pools {
        let class = |n: usize| {
            let bytes = SMALLEST_BYTES << n;
            BufPool::new(bytes, (KEEP_BYTES / bytes).clamp(1, KEEP_BUFFERS))
        };
        Pools { classes: (0..CLASSES).map(class).collect() }
    }

    /// An empty buffer of at least `bytes`.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        let class = bytes.div_ceil(SMALLEST_BYTES).next_power_of_two().trailing_zeros() as usize;
        match self.classes.get(class) {
            Some(pool) => pool.take(bytes),
            None => AlignedBuf::with_capacity(bytes),
        }
    }
}

/// The buffers of one commit.
#[derive(Debug)]
pub struct Cached {
    /// The commit.
    pub commit: CommitSeq,
    /// Memory that goes when the last log lets go.
    pub bytes: usize,
    /// The logs with batches in it.
    pub keys: SmallVec<[LogKey; 4]>,
}

/// The buffers in the order in which they go: oldest first.
#[derive(Debug, Default)]
pub struct Cache {
    queue: VecDeque<Cached>,
    bytes: usize,
}

impl Cache {
    /// A commit's buffers are in memory.
    pub fn push(&mut self, cached: Cached) {
        self.bytes += cached.bytes;
        self.queue.push_back(cached);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest commit's buffers.
    pub fn oldest(&self) -> Option<&Cached> {
        self.queue.front()
    }

    /// The oldest commit's buffers are let go.
    pub fn pop(&mut self) {
        if let Some(cached) = self.queue.pop_front() {
            self.bytes -= cached.bytes;
        }
    }
}
