//! Block-aligned buffers for direct IO, filled once and then frozen into shared [`Bytes`]; a pool takes them back when
//! the last reader drops them. The only file of this room with `unsafe`.

#![allow(unsafe_code)]
#![allow(clippy::disallowed_types)] // the pool is shared by design: buffers die on whichever thread read them last

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The unit of direct IO: offset, length and memory address of every direct read and write are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// From this size on the system's zeroed memory is taken, which becomes resident page by page as it is used; zeroed with
/// the alignment that we want, all of it would be touched at once.
const LAZY_FROM_BYTES: usize = 256 * 1024;
/// The alignment up to which the allocator has zeroed memory of its own.
const LAZY_ALIGN_BYTES: usize = 16;

/// So many times its limit a shelf hands out until it looks at what lay there unused all that time.
const REVIEW_TIMES: usize = 64;

/// Rounds up to whole blocks.
pub const fn blocks_up(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// Rounds down to whole blocks.
pub const fn blocks_down(bytes: usize) -> usize {
    bytes / BLOCK_BYTES * BLOCK_BYTES
}

/// Owned memory whose address is a multiple of [`BLOCK_BYTES`], with a filled length below a fixed capacity.
pub struct AlignedBuf {
    memory: NonNull<u8>,
    /// Bytes of the allocation before `memory`.
    lead: usize,
    capacity: usize,
    len: usize,
    /// Where it goes back to, and as which size.
    home: Option<(Arc<Shelf>, usize)>,
}

// SAFETY: the buffer owns its memory exclusively; nothing in it is tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads through `&self`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A zeroed buffer of at least `capacity` bytes, rounded up to whole blocks (one block at least).
    pub fn with_capacity(capacity: usize) -> AlignedBuf {
        let capacity = blocks_up(capacity.max(1));
        let layout = AlignedBuf::layout(capacity);
        // SAFETY: the layout's size is not zero.
        let allocated = unsafe { alloc_zeroed(layout) };
        let Some(allocated) = NonNull::new(allocated) else { handle_alloc_error(layout) };
        let lead = blocks_up(allocated.as_ptr() as usize) - allocated.as_ptr() as usize;
        // SAFETY: `layout` has room for the capacity behind any lead that there can be.
        let memory = unsafe { allocated.add(lead) };
        AlignedBuf { memory, lead, capacity, len: 0, home: None }
    }

    fn layout(capacity: usize) -> Layout {
        let layout = if capacity < LAZY_FROM_BYTES {
            Layout::from_size_align(capacity, BLOCK_BYTES)
        } else {
            Layout::from_size_align(capacity + BLOCK_BYTES, LAZY_ALIGN_BYTES)
        };
        layout.expect("buffer capacities are far below isize::MAX")
    }

    /// Filled bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends; panics when the capacity is exceeded, since the caller planned the layout.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        assert!(end <= self.capacity, "aligned buffer overflow: {end} of {}", self.capacity);
        // SAFETY: the range lies inside the allocation (asserted) and `bytes` cannot overlap memory that we own mutably.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_ptr().add(self.len), bytes.len()) };
        self.len = end;
    }

    /// Appends zeros up to `len` filled bytes in all.
    pub fn zero_to(&mut self, len: usize) {
        assert!(len >= self.len && len <= self.capacity, "aligned buffer cannot be filled to {len}");
        // SAFETY: the range lies inside the allocation (asserted).
        unsafe { std::ptr::write_bytes(self.memory.as_ptr().add(self.len), 0, len - self.len) };
        self.len = len;
    }

    /// Appends zeros up to the next block border.
    pub fn pad_to_block(&mut self) {
        self.zero_to(blocks_up(self.len));
    }

    /// Sets the filled length, for memory that a read has filled through [`AlignedBuf::whole_mut`].
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "filled length beyond the capacity");
        self.len = len;
    }

    /// The filled bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from the start are initialised (zeroed at allocation, then written).
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }

    /// The filled bytes, to patch.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }

    /// The whole capacity, as the target of a read.
    pub fn whole_mut(&mut self) -> &mut [u8] {
        // SAFETY: the whole allocation was zeroed when it was made, so it is initialised.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.capacity) }
    }

    /// Freezes the filled bytes into shared, immutable bytes; the memory goes back to its pool with the last of them.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Some((home, size)) = self.home.take() {
            let (memory, lead, capacity) = (self.memory, self.lead, self.capacity);
            let buffer = AlignedBuf { memory, lead, capacity, len: 0, home: None };
            home.put(buffer, size);
            return;
        }
        // SAFETY: allocated in `with_capacity` with the same layout `lead` bytes before, and given away only above.
        unsafe { dealloc(self.memory.as_ptr().sub(self.lead), AlignedBuf::layout(self.capacity)) };
    }
}

/// Where free buffers of some sizes lie. All sizes share one limit, so that what one load made use of goes when another
/// load wants others; and what was needed once, at a peak, goes when it has lain unused for long.
struct Shelf {
    keep_bytes: usize,
    state: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    sizes: Vec<FreeSize>,
    bytes: usize,
    /// How often a buffer was asked for.
    takes: u64,
    /// Bytes handed out since the last review.
    taken_bytes: usize,
}

#[derive(Default)]
struct FreeSize {
    /// The last one is taken first, so that unused ones lie at the front.
    buffers: Vec<AlignedBuf>,
    last_take: u64,
    /// The fewest that lay here at any moment since the last review.
    fewest: usize,
}

impl FreeSize {
    fn pop(&mut self) -> Option<AlignedBuf> {
        let buffer = self.buffers.pop();
        self.fewest = self.fewest.min(self.buffers.len());
        buffer
    }
}

impl Free {
    /// One of the size that was not asked for since longest.
    fn give_up(&mut self) -> Option<AlignedBuf> {
        let used = self.sizes.iter_mut().filter(|size| !size.buffers.is_empty());
        let buffer = used.min_by_key(|size| size.last_take)?.pop()?;
        self.bytes -= buffer.capacity;
        Some(buffer)
    }

    /// Takes out what nobody needed since the last review.
    fn review(&mut self) -> Vec<AlignedBuf> {
        self.taken_bytes = 0;
        let mut unused = Vec::new();
        for size in &mut self.sizes {
            unused.extend(size.buffers.drain(..size.fewest));
            size.fewest = size.buffers.len();
        }
        self.bytes -= unused.iter().map(AlignedBuf::capacity).sum::<usize>();
        unused
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, buffer: AlignedBuf, size: usize) {
        let mut free = self.lock();
        free.bytes += buffer.capacity;
        free.sizes[size].buffers.push(buffer);
        while free.bytes > self.keep_bytes {
            let Some(given_up) = free.give_up() else { return };
            drop(free);
            drop(given_up);
            free = self.lock();
        }
    }

    fn take(&self, size: usize) -> Option<AlignedBuf> {
        let mut free = self.lock();
        free.takes += 1;
        let takes = free.takes;
        let of_size = &mut free.sizes[size];
        of_size.last_take = takes;
        let buffer = of_size.pop();
        let bytes = buffer.as_ref().map_or(0, AlignedBuf::capacity);
        free.bytes -= bytes;
        free.taken_bytes += bytes;
        let is_due = free.taken_bytes >= self.keep_bytes.saturating_mul(REVIEW_TIMES);
        let unused = if is_due { free.review() } else { Vec::new() };
        drop(free);
        drop(unused);
        buffer
    }
}

/// A pool of equal buffers. Buffers may be dropped on any thread; so many bytes of free ones are held at most.
#[derive(Clone)]
pub struct BufPool {
    shelf: Arc<Shelf>,
    /// Which of the shelf's sizes.
    size: usize,
    buffer_bytes: usize,
}

impl std::fmt::Debug for BufPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BufPool of {} bytes", self.buffer_bytes)
    }
}

impl BufPool {
    /// A pool of buffers of `buffer_bytes` (rounded up to whole blocks) that keeps at most `keep` free ones.
    pub fn new(buffer_bytes: usize, keep: usize) -> BufPool {
        let [pool] = BufPool::family([buffer_bytes], keep * blocks_up(buffer_bytes.max(1)));
        pool
    }

    /// A pool for each of these sizes (rounded up to whole blocks), in their order. They keep at most `keep_bytes` of free
    /// buffers together: the first to go are of the size that nobody asked for since longest.
    pub fn family<const SIZES: usize>(sizes: [usize; SIZES], keep_bytes: usize) -> [BufPool; SIZES] {
        let free = Free { sizes: sizes.iter().map(|_| FreeSize::default()).collect(), ..Free::default() };
        let shelf = Arc::new(Shelf { keep_bytes, state: Mutex::new(free) });
        std::array::from_fn(|size| {
            let buffer_bytes = blocks_up(sizes[size].max(1));
            BufPool { shelf: Arc::clone(&shelf), size, buffer_bytes }
        })
    }

    /// The first of these pools, the smallest sizes first, whose buffers hold `bytes`; the last one, where none do.
    pub fn fitting(pools: &[BufPool], bytes: usize) -> &BufPool {
        let fits = pools.iter().find(|pool| bytes <= pool.buffer_bytes);
        fits.or(pools.last()).expect("a choice of pools is not empty")
    }

    /// The size of its buffers.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// An empty buffer of at least `capacity` bytes. Larger than the pool's size: allocated and freed on its own.
    pub fn take(&self, capacity: usize) -> AlignedBuf {
        if capacity > self.buffer_bytes {
            return AlignedBuf::with_capacity(capacity);
        }
        let mut buffer = self.shelf.take(self.size).unwrap_or_else(|| AlignedBuf::with_capacity(self.buffer_bytes));
        buffer.home = Some((Arc::clone(&self.shelf), self.size));
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_pad_with_zeros() {
        let mut buffer = AlignedBuf::with_capacity(5000);
        assert_eq!(buffer.capacity(), 8192);
        buffer.extend_from_slice(b"abc");
        buffer.pad_to_block();
        assert_eq!(buffer.len(), 4096);
        assert_eq!(buffer.as_slice().as_ptr() as usize % BLOCK_BYTES, 0);
        assert!(buffer.as_slice()[3..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_large_buffer_becomes_resident_as_it_is_used() {
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
            line.split_whitespace().next().expect("a number").parse::<usize>().expect("a number")
        };
        let before = resident_kib();
        let mut buffers: Vec<AlignedBuf> = (0..8).map(|_| AlignedBuf::with_capacity(100 << 20)).collect();
        buffers[0].extend_from_slice(&[7; 5000]);
        let now = resident_kib();
        assert!(now < before + 100 * 1024, "{now} KiB are resident, {before} were");
        for buffer in &mut buffers {
            assert_eq!(buffer.as_slice().as_ptr() as usize % BLOCK_BYTES, 0);
            let whole = buffer.whole_mut();
            assert_eq!((whole.len(), whole[(100 << 20) - 1]), (100 << 20, 0));
        }
        assert_eq!(buffers[0].as_slice(), &[7; 5000]);
    }

    #[test]
    fn a_pool_takes_back_what_its_last_reader_drops() {
        let pool = BufPool::new(4096, 1);
        let mut buffer = pool.take(10);
        buffer.extend_from_slice(&[9; 100]);
        let address = buffer.as_slice().as_ptr() as usize;
        let frozen = buffer.freeze();
        let slice = frozen.slice(10..20);
        drop(frozen);
        assert_eq!(&slice[..], &[9; 10]);
        drop(slice);
        let again = pool.take(10);
        assert_eq!(again.memory.as_ptr() as usize, address);
        assert!(again.is_empty());
        assert_eq!(pool.take(10_000).capacity(), 12_288);
    }

    #[test]
    fn sizes_share_a_limit_and_the_one_that_is_out_of_use_gives_way() {
        let pools = BufPool::family([4096, 8192, 16_384], 32_768);
        let kept = || {
            let free = pools[0].shelf.lock();
            let sizes: Vec<usize> = free.sizes.iter().map(|size| size.buffers.len()).collect();
            let bytes: usize = free.sizes.iter().flat_map(|size| &size.buffers).map(AlignedBuf::capacity).sum();
            assert_eq!(free.bytes, bytes);
            sizes
        };
        let taken =
            |pool: usize, count: usize| -> Vec<AlignedBuf> { (0..count).map(|_| pools[pool].take(1)).collect() };
        drop(taken(0, 10));
        assert_eq!(kept(), [8, 0, 0]);
        drop(taken(2, 1));
        assert_eq!(kept(), [4, 0, 1]);
        let larger = taken(1, 2);
        drop(taken(0, 1));
        drop(larger);
        assert_eq!(kept(), [4, 2, 0], "the largest was not asked for since longest");
        drop(pools[2].take(16_385));
        assert_eq!(kept(), [4, 2, 0], "larger than its pool's size");
        let (smaller, gone) = (taken(0, 4), taken(1, 2));
        assert_eq!(kept(), [0, 0, 0]);
        drop((smaller, gone));
        assert_eq!(kept(), [4, 2, 0]);
        assert_eq!(pools.iter().map(BufPool::buffer_bytes).collect::<Vec<_>>(), [4096, 8192, 16_384]);
    }

    #[test]
    fn what_was_needed_once_goes_when_it_has_lain_unused_for_long() {
        let [small, large] = BufPool::family([4096, 8192], 10 * 8192);
        let taken = |pool: &BufPool, count: usize| -> Vec<AlignedBuf> { (0..count).map(|_| pool.take(1)).collect() };
        let kept = || {
            let free = small.shelf.lock();
            let sizes: Vec<usize> = free.sizes.iter().map(|size| size.buffers.len()).collect();
            assert_eq!(free.bytes, sizes[0] * 4096 + sizes[1] * 8192);
            sizes
        };
        drop((taken(&small, 8), taken(&large, 6)));
        assert_eq!(kept(), [8, 6]);
        let steps = 64 * 10 / 2;
        let used_for = |steps: usize| (0..steps).for_each(|_| drop((taken(&small, 2), taken(&large, 1))));
        used_for(steps);
        assert_eq!(kept(), [8, 6], "the peak itself is part of what was looked at");
        used_for(steps + 1);
        assert_eq!(kept(), [2, 1]);
        let peak = taken(&small, 7);
        used_for(10);
        drop(peak);
        used_for(steps);
        assert_eq!(kept(), [9, 1], "used since the last look");
    }

    #[test]
    fn the_fitting_pool_is_the_smallest_that_is_large_enough() {
        let pools = BufPool::family([4096, 8192], 8192);
        let fitting = [0, 4096, 4097, 8192, 8193].map(|bytes| BufPool::fitting(&pools, bytes).buffer_bytes());
        assert_eq!(fitting, [4096, 4096, 8192, 8192, 8192]);
    }

    #[test]
    #[should_panic(expected = "overflow")]
    fn overflow_is_refused() {
        AlignedBuf::with_capacity(1).extend_from_slice(&[0; 5000]);
    }
}
