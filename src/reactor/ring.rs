//! One io_uring instance with the flags of a single-threaded loop, and the tags that its completions carry.
//! Must never touch: what the operations are for.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::Timespec;
use io_uring::{IoUring, squeue};

use crate::error::SetupError;
use crate::slab::Key;

/// Submissions that one turn gathers before they are handed over early.
const SUBMISSIONS: u32 = 256;
/// Completions the kernel can leave before it keeps them in memory of its own.
const COMPLETIONS: u32 = 4096;
/// Worker threads that the kernel may start for operations that block (splice, fsync): regular files, the rest.
const WORKERS_MAX: [u32; 2] = [4, 4];

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;

/// The kernel's `io_uring_getevents_arg`.
#[repr(C)]
struct EnterArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// The kernel's `io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// Registers the ring with the calling thread; returns its index. The `io-uring` crate can do this too, but forgets the
/// index with each of its short-lived submitters.
fn register_ring(fd: RawFd) -> io::Result<RawFd> {
    let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: fd as u64 };
    // SAFETY: one valid update entry, which the kernel fills with the index.
    let done = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1) };
    if done == 1 { Ok(update.offset as RawFd) } else { Err(io::Error::last_os_error()) }
}

/// What a completion answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Ignore = 0,
    Wake = 1,
    Accept = 2,
    Recv = 3,
    Send = 4,
    FileWrite = 5,
    FileSync = 6,
    Poke = 7,
    SpliceIn = 8,
    Writable = 9,
}

const KINDS: [Kind; 10] = [
    Kind::Ignore,
    Kind::Wake,
    Kind::Accept,
    Kind::Recv,
    Kind::Send,
    Kind::FileWrite,
    Kind::FileSync,
    Kind::Poke,
    Kind::SpliceIn,
    Kind::Writable,
];

/// The low 24 bits of a slot's generation travel with each operation.
const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Packs kind, generation and slot into a completion's user data.
pub(crate) const fn tag(kind: Kind, key: Key) -> u64 {
    (kind as u64) << 56 | ((key.generation & GENERATION_MASK) as u64) << 32 | key.index as u64
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) kind: Kind,
    pub(crate) index: u32,
    generation: u32,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    fn new(user_data: u64, result: i32, flags: u32) -> Completion {
        let kind = KINDS.get((user_data >> 56) as usize).copied().unwrap_or(Kind::Ignore);
        let generation = (user_data >> 32) as u32 & GENERATION_MASK;
        Completion { kind, index: user_data as u32, generation, result, flags }
    }

    /// True when the slot still is what it was at submission. It always is, since slots outlive their operations.
    pub(crate) fn is_for(&self, key: Key) -> bool {
        key.generation & GENERATION_MASK == self.generation
    }
}

/// The ring of one thread; made, used and dropped on that thread.
pub(crate) struct Ring {
    uring: IoUring,
    /// What `io_uring_enter` gets: the registered index with its flag, or the descriptor.
    enter_fd: RawFd,
    enter_flags: u32,
    pub(crate) enters: u64,
    pub(crate) submitted: u64,
}

impl Ring {
    pub(crate) fn new() -> Result<Ring, SetupError> {
        let uring = Ring::build().map_err(SetupError::ring)?;
        // Best effort both: without them a turn costs a descriptor look-up, or the kernel starts more workers.
        let (enter_fd, enter_flags) = match register_ring(uring.as_raw_fd()) {
            Ok(index) => (index, ENTER_REGISTERED_RING),
            Err(_) => (uring.as_raw_fd(), 0),
        };
        let mut workers = WORKERS_MAX;
        if let Err(error) = uring.submitter().register_iowq_max_workers(&mut workers) {
            tracing::debug!("the kernel's io workers stay unlimited: {error}");
        }
        Ok(Ring { uring, enter_fd, enter_flags, enters: 0, submitted: 0 })
    }

    fn build() -> io::Result<IoUring> {
        IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_clamp()
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(SUBMISSIONS)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Queues an operation; hands over what is queued when there is no room.
    ///
    /// # Safety
    /// All memory and descriptors that the entry names stay valid until its completion arrives.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.submitted += 1;
        // SAFETY: the caller's promise.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.enter(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Hands over what is queued, and looks for nothing.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let queued = self.uring.submission().len() as u32;
        self.enter_with(queued, 0, 0, (std::ptr::null(), 0))
    }

    /// Hands over what is queued and sleeps until something completes or `wait` is over (`None`: no limit). A zero
    /// wait only looks.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let queued = self.uring.submission().len() as u32;
        let limit = Timespec::from(wait.unwrap_or_default());
        let argument = EnterArgument { sigmask: 0, sigmask_bytes: 0, min_wait_us: 0, timeout: &raw const limit as u64 };
        let (least, flags) = match wait {
            Some(Duration::ZERO) => (0, ENTER_GETEVENTS),
            None => (1, ENTER_GETEVENTS),
            Some(_) => (1, ENTER_GETEVENTS | ENTER_EXT_ARG),
        };
        let (pointer, bytes) = if flags & ENTER_EXT_ARG != 0 {
            (&raw const argument, size_of::<EnterArgument>())
        } else {
            (std::ptr::null(), 0)
        };
        self.enter_with(queued, least, flags, (pointer, bytes))
    }

    fn enter_with(
        &mut self,
        queued: u32,
        least: u32,
        flags: u32,
        (pointer, bytes): (*const EnterArgument, usize),
    ) -> io::Result<()> {
        self.enters += 1;
        // SAFETY: the ring is open, and the argument and what it points to are null or outlive the call. What the queued
        // entries name is valid by the promise made to `push`.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                queued,
                least,
                flags | self.enter_flags,
                pointer,
                bytes,
            )
        };
        if entered >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Over, interrupted, or too many completions to take more in: the completions come first.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Moves what has completed to `into`.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.uring.completion().map(|cqe| Completion::new(cqe.user_data(), cqe.result(), cqe.flags())));
    }
}

/// Tries whether the kernel lets us have a ring at all.
pub fn try_ring() -> Result<(), SetupError> {
    Ring::build().map(drop).map_err(SetupError::ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_round_trip() {
        let key = Key { index: 77, generation: 0x1234_5678 };
        let completion = Completion::new(tag(Kind::FileSync, key), -5, 1);
        assert_eq!((completion.kind, completion.index, completion.result), (Kind::FileSync, 77, -5));
        assert!(completion.is_for(key));
        assert!(!completion.is_for(Key { index: 77, generation: 0x1234_5679 }));
    }
}
