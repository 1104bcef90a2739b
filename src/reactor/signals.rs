//! SIGTERM and SIGINT as something to wait for, beside an eventfd.
//! Must never touch: what a signal leads to.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::SetupError;
use crate::wake::EventFd;

/// Signals of this process that ask it to end. Make it before any thread starts, since threads inherit what is blocked.
pub struct Signals {
    fd: OwnedFd,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// SIGTERM or SIGINT.
    Asked,
    /// The eventfd was signalled.
    Event,
}

impl Signals {
    /// Blocks SIGTERM and SIGINT for this thread and those it starts, and ignores SIGPIPE.
    pub fn take() -> Result<Signals, SetupError> {
        // SAFETY: all zeros is a valid set to initialise; all pointers are to it, and SIG_IGN is a valid disposition.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            if libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(SetupError::last("pthread_sigmask"));
            }
            libc::signalfd(-1, &set, libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(SetupError::last("signalfd"));
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(Signals { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Sleeps until a signal arrives or `event` is signalled; signals first.
    pub fn wait(&self, event: &EventFd) -> Waited {
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        loop {
            let mut entries = [entry(self.fd.as_raw_fd()), entry(event.as_raw_fd())];
            // SAFETY: two valid entries.
            let ready = unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
            if ready <= 0 {
                continue;
            }
            if entries[0].revents != 0 {
                // SAFETY: all zeros is a valid value, and its size is what the descriptor yields.
                unsafe {
                    let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                    let place = (&raw mut info).cast();
                    if libc::read(self.fd.as_raw_fd(), place, size_of_val(&info)) > 0 {
                        return Waited::Asked;
                    }
                }
            }
            if entries[1].revents != 0 {
                event.wait();
                return Waited::Event;
            }
        }
    }
}
