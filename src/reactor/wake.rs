//! Waking a thread that sleeps in its ring: an eventfd, and the flag that says whether ringing is needed at all.
//! Must never touch: what is delivered.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering, fence};

use crate::error::SetupError;

/// An eventfd of this process.
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// A counter at zero.
    pub fn new() -> Result<EventFd, SetupError> {
        // SAFETY: plain integers in and out.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(SetupError::last("eventfd"));
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(EventFd { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Adds one; whoever reads wakes.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes; the call cannot block before the counter holds 2^64 - 2.
        let written = unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        debug_assert_eq!(written, 8, "an eventfd takes 8 bytes");
    }

    /// Blocks until somebody has signalled, and takes that back.
    pub fn wait(&self) {
        let mut value = [0u8; 8];
        // SAFETY: eight writable bytes. An interrupted read means one look too early, which callers allow for.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
        debug_assert!(read == 8 || std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted);
    }

    /// A second descriptor of the same counter.
    pub fn duplicate(&self) -> Result<OwnedFd, SetupError> {
        self.fd.try_clone().map_err(|error| SetupError::System { what: "dup of an eventfd", error })
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Nobody needs to wake the thread.
const AWAKE: u8 = 0;
/// Something on its way will wake the thread within a moment; what can wait so long need not.
const DOZING: u8 = 1;
/// Whoever delivers must wake the thread.
const ASLEEP: u8 = 2;

/// How others wake one thread. The sleeper announces itself, looks once more, and only then sleeps; who delivers looks
/// at the announcement after delivering. So a busy thread costs its senders no system call.
pub struct Doorbell {
    state: AtomicU8,
    event: EventFd,
    ring: AtomicI32,
}

impl Doorbell {
    /// The doorbell of a thread that is awake.
    pub fn new() -> Result<Arc<Doorbell>, SetupError> {
        Ok(Arc::new(Doorbell { state: AtomicU8::new(AWAKE), event: EventFd::new()?, ring: AtomicI32::new(-1) }))
    }

    /// The sleeper, before its last look at its lanes.
    pub fn announce_sleep(&self) {
        self.announce(ASLEEP);
    }

    /// The same, when an operation of its own is sure to wake the sleeper soon.
    pub fn announce_doze(&self) {
        self.announce(DOZING);
    }

    fn announce(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The sleeper, awake again.
    pub fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// True for the one sender that has to wake the sleeper, after it has delivered.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.state.load(Ordering::Relaxed) != AWAKE && self.state.swap(AWAKE, Ordering::SeqCst) != AWAKE
    }

    /// The same for a delivery that may wait until the sleeper's own operation is back.
    pub fn must_wake_for_patient(&self) -> bool {
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        state == ASLEEP && self.state.compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Wakes by eventfd if the thread sleeps: for senders without a ring.
    pub fn ring(&self) {
        if self.must_wake() {
            self.event.signal();
        }
    }

    /// Wakes by eventfd whatever the flag says.
    pub fn force(&self) {
        self.event.signal();
    }

    /// The eventfd, for the sleeper to read.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Says which ring the sleeper sleeps in, for senders that have a ring too.
    pub fn set_ring(&self, ring_fd: RawFd) {
        self.ring.store(ring_fd, Ordering::Release);
    }

    /// The ring the sleeper sleeps in; -1 before it has one.
    pub fn ring_fd(&self) -> RawFd {
        self.ring.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_sender_wakes_a_sleeper_and_none_a_thread_that_is_awake() {
        let bell = Doorbell::new().expect("eventfd");
        assert!(!bell.must_wake());
        bell.announce_sleep();
        assert!(bell.must_wake());
        assert!(!bell.must_wake());
        bell.announce_sleep();
        bell.awake();
        assert!(!bell.must_wake());
        bell.announce_doze();
        assert!(!bell.must_wake_for_patient());
        assert!(bell.must_wake());
        bell.announce_sleep();
        assert!(bell.must_wake_for_patient());
        assert!(!bell.must_wake());
    }
}
