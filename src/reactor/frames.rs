//! Cutting a byte stream into frames with a four-byte big-endian length in front, without copying them: small frames are
//! slices of the connection's receive block, a large one is received into memory of exactly its size.
//! Must never touch: sockets, what a frame says.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use coretide_stdx::aligned::{AlignedBuf, BufPool};

/// The length in front of each frame.
pub const PREFIX_BYTES: usize = 4;
/// What an idle connection holds.
pub const BLOCK_MIN_BYTES: usize = 4 * 1024;
/// The largest receive block; a frame that does not fit into one gets memory of its own.
pub const BLOCK_MAX_BYTES: usize = 64 * 1024;
/// Receives in a row that leave most of the block unused before the next block is smaller.
const SMALL_RECEIVES: u8 = 32;
/// Sizes of the pooled buffers for large frames, and how much free ones take at most; a larger frame gets memory that is
/// freed after it.
const LARGE_BUFFER_BYTES: usize = 1024 * 1024 + 64 * 1024;
const MEDIUM_BUFFER_BYTES: usize = 288 * 1024;
const KEEP_BYTES: usize = 12 << 20;

/// A stream that cannot be cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is below zero.
    #[error("a frame of {0} bytes was announced")]
    Negative(i32),
    /// The length is above the limit.
    #[error("a frame of {announced} bytes was announced, {limit} are allowed")]
    TooLarge {
        /// Announced.
        announced: usize,
        /// Allowed.
        limit: usize,
    },
}

/// Large frames by size. Each class has half of the memory, so that a few of the largest cannot keep it from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Up to a sixteenth of the memory.
    Medium,
    /// Larger.
    Giant,
}

impl Class {
    /// Both of them.
    pub const BOTH: [Class; 2] = [Class::Medium, Class::Giant];
}

/// A frame larger than this part of the memory is a giant.
const GIANT_PART: usize = 16;

/// The memory of large frames of one thread: pooled buffers, and the bytes in use against a limit. The gauges count a
/// frame from its allocation until the last slice of it is dropped, on whichever thread.
pub struct FrameMemory {
    /// Of both sizes, the smaller first.
    pools: [BufPool; 2],
    in_use: [Arc<AtomicUsize>; 2],
    limit: usize,
}

struct Counted {
    buffer: AlignedBuf,
    in_use: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_use.fetch_sub(self.buffer.capacity(), Ordering::Relaxed);
    }
}

impl FrameMemory {
    /// At most `limit` bytes of large frames at once; one frame of each class is always allowed, whatever its size.
    pub fn new(limit: usize) -> FrameMemory {
        FrameMemory {
            pools: BufPool::family([MEDIUM_BUFFER_BYTES, LARGE_BUFFER_BYTES], KEEP_BYTES),
            in_use: Default::default(),
            limit,
        }
    }

    /// Bytes of large frames in use.
    pub fn in_use(&self) -> usize {
        Class::BOTH.iter().map(|class| self.in_use_of(*class)).sum()
    }

    /// Bytes of large frames of this class in use.
    pub fn in_use_of(&self, class: Class) -> usize {
        self.in_use[class as usize].load(Ordering::Relaxed)
    }

    fn class_of(&self, bytes: usize) -> Class {
        if bytes > self.limit / GIANT_PART { Class::Giant } else { Class::Medium }
    }

    fn take(&self, bytes: usize) -> Option<Counted> {
        let class = self.class_of(bytes);
        let in_use = self.in_use_of(class);
        if in_use > 0 && in_use.saturating_add(bytes) > self.limit / 2 {
            return None;
        }
        let buffer = BufPool::fitting(&self.pools, bytes).take(bytes);
        let in_use = &self.in_use[class as usize];
        in_use.fetch_add(buffer.capacity(), Ordering::Relaxed);
        Some(Counted { buffer, in_use: Arc::clone(in_use) })
    }
}

struct LargeFrame {
    memory: Counted,
    filled: usize,
    total: usize,
}

/// The receiving half of one connection.
pub struct FrameReader {
    block: BytesMut,
    large: Option<LargeFrame>,
    /// Bytes of the large frame that waits for memory; its head is in `block`.
    starved: Option<usize>,
    block_bytes: usize,
    small_receives: u8,
    /// The last frame was large: the next receive takes little, so that little has to be moved when another follows.
    expects_large: bool,
    limit: usize,
    /// When somebody else was first seen to wait for the memory of the frame in progress, in microseconds.
    hinders_since_us: Option<u64>,
    /// Bytes moved inside user space because a frame outgrew its block.
    pub moved_bytes: u64,
}

impl FrameReader {
    /// Nothing received yet; frames above `limit` bytes are refused.
    pub fn new(limit: usize) -> FrameReader {
        FrameReader {
            block: BytesMut::new(),
            large: None,
            starved: None,
            block_bytes: BLOCK_MIN_BYTES,
            small_receives: 0,
            expects_large: false,
            limit,
            hinders_since_us: None,
            moved_bytes: 0,
        }
    }

    /// True while a large frame waits for memory: nothing can be received until [`FrameReader::feed`] succeeds.
    pub fn is_starved(&self) -> bool {
        self.starved.is_some()
    }

    /// The class of the large frame that waits for memory.
    pub fn starved_class(&self, memory: &FrameMemory) -> Option<Class> {
        self.starved.map(|bytes| memory.class_of(bytes))
    }

    /// The class of the large frame in progress.
    pub fn large_class(&self, memory: &FrameMemory) -> Option<Class> {
        self.large.as_ref().map(|large| memory.class_of(large.total))
    }

    /// Bytes of an incomplete frame in the receive block.
    pub fn in_block_bytes(&self) -> usize {
        self.block.len()
    }

    /// How long others have waited for the memory of the frame in progress, as far as was looked.
    pub fn age_us(&mut self, now_us: u64) -> u64 {
        now_us.saturating_sub(*self.hinders_since_us.get_or_insert(now_us))
    }

    /// Nobody waits for the memory of the frame in progress.
    pub fn forget_age(&mut self) {
        self.hinders_since_us = None;
    }

    /// True when all of [`FrameReader::spare`] belongs to one frame, so that a receive may wait until it is full.
    pub fn is_within_large(&self) -> bool {
        self.large.is_some()
    }

    /// Where the next bytes go; never empty. Stays where it is until [`FrameReader::advance`].
    pub fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        if let Some(large) = &mut self.large {
            let rest = &mut large.memory.buffer.whole_mut()[large.filled..large.total];
            // SAFETY: initialised bytes may be seen as maybe-uninitialised ones as long as no uninitialised byte is
            // written; only the kernel writes here.
            return unsafe { &mut *(std::ptr::from_mut(rest) as *mut [MaybeUninit<u8>]) };
        }
        if self.block.is_empty() && self.block.capacity() > self.block_bytes {
            self.block = BytesMut::new();
        }
        let room = self.block.capacity() - self.block.len();
        let wanted = self.missing_bytes();
        if room < wanted || room < self.block_bytes / 4 {
            self.block.reserve(wanted.max(self.block_bytes - self.block.len().min(self.block_bytes)));
        }
        let spare = self.block.spare_capacity_mut();
        let most = if self.expects_large { BLOCK_MIN_BYTES } else { BLOCK_MAX_BYTES };
        let len = spare.len().min(most.max(wanted));
        &mut spare[..len]
    }

    /// Bytes that the frame in the block still lacks; 1 when its length is not known.
    fn missing_bytes(&self) -> usize {
        match self.announced() {
            Some(len) => (PREFIX_BYTES + len).saturating_sub(self.block.len()).max(1),
            None => 1,
        }
    }

    fn announced(&self) -> Option<usize> {
        let prefix = self.block.first_chunk::<PREFIX_BYTES>()?;
        usize::try_from(i32::from_be_bytes(*prefix)).ok()
    }

    /// Takes in `received` bytes that were written to [`FrameReader::spare`], and hands out the frames that are whole.
    ///
    /// # Safety
    /// The first `received` bytes of the last `spare` were initialised.
    pub unsafe fn advance(
        &mut self,
        received: usize,
        memory: &FrameMemory,
        mut frame: impl FnMut(Bytes),
    ) -> Result<(), FrameError> {
        if let Some(large) = &mut self.large {
            large.filled += received;
            if large.filled == large.total {
                let LargeFrame { mut memory, total, .. } = self.large.take().expect("just seen");
                memory.buffer.set_len(total);
                frame(Bytes::from_owner(memory));
                self.hinders_since_us = None;
                self.expects_large = true;
            }
            return Ok(());
        }
        self.adapt(received);
        // SAFETY: the caller promises that these bytes are initialised, and `spare` never exceeds the capacity.
        unsafe { self.block.set_len(self.block.len() + received) };
        self.cut(memory, frame)
    }

    /// Tries again to get memory for the large frame that waits.
    pub fn feed(&mut self, memory: &FrameMemory) -> bool {
        match self.starved {
            Some(len) => self.begin_large(len, memory),
            None => true,
        }
    }

    fn adapt(&mut self, received: usize) {
        if received >= self.block_bytes / 2 {
            self.small_receives = 0;
            self.block_bytes = (self.block_bytes * 4).min(BLOCK_MAX_BYTES);
        } else if received >= self.block_bytes / 8 {
            self.small_receives = 0;
        } else {
            self.small_receives += 1;
            if self.small_receives >= SMALL_RECEIVES {
                self.small_receives = 0;
                self.block_bytes = (self.block_bytes / 4).max(BLOCK_MIN_BYTES);
            }
        }
    }

    fn cut(&mut self, memory: &FrameMemory, mut frame: impl FnMut(Bytes)) -> Result<(), FrameError> {
        while let Some(prefix) = self.block.first_chunk::<PREFIX_BYTES>() {
            let announced = i32::from_be_bytes(*prefix);
            let len = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
            if len > self.limit {
                return Err(FrameError::TooLarge { announced: len, limit: self.limit });
            }
            if self.block.len() < PREFIX_BYTES + len {
                if PREFIX_BYTES + len > BLOCK_MAX_BYTES {
                    self.begin_large(len, memory);
                }
                return Ok(());
            }
            self.block.advance(PREFIX_BYTES);
            frame(self.block.split_to(len).freeze());
            self.hinders_since_us = None;
            self.expects_large = false;
        }
        Ok(())
    }

    fn begin_large(&mut self, len: usize, memory: &FrameMemory) -> bool {
        let Some(mut counted) = memory.take(len) else {
            self.starved = Some(len);
            return false;
        };
        self.starved = None;
        let head = &self.block[PREFIX_BYTES..];
        counted.buffer.extend_from_slice(head);
        let filled = head.len();
        self.moved_bytes += filled as u64;
        self.block.clear();
        self.large = Some(LargeFrame { memory: counted, filled, total: len });
        true
    }
}

#[cfg(test)]
mod tests;
