//! Why the machine would not start us, in words that say what to do.
//! Must never touch: anything that could fail on its own.

use std::io;

/// A refusal of the kernel at start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `io_uring_setup` was refused.
    #[error("the kernel refuses io_uring ({error}): {advice}")]
    Ring {
        /// The system's answer.
        error: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another system call failed.
    #[error("{what} failed: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

impl SetupError {
    /// Names the cause of a failed `io_uring_setup`.
    pub(crate) fn ring(error: io::Error) -> SetupError {
        let advice = match error.raw_os_error() {
            Some(libc::ENOSYS) => "it was built without io_uring or is older than 5.1; Linux 6.1 or newer is needed",
            Some(libc::EPERM) => {
                "a seccomp profile or the sysctl kernel.io_uring_disabled forbids it; set the sysctl to 0, and in a \
                 container allow io_uring_setup, io_uring_enter and io_uring_register (for Docker: \
                 --security-opt seccomp=unconfined or a profile of your own)"
            }
            Some(libc::ENOMEM) => "the locked-memory limit is too small; raise it (ulimit -l, LimitMEMLOCK=) to 8 MiB",
            Some(libc::EMFILE | libc::ENFILE) => {
                "no file descriptor is left; raise the limit (ulimit -n, LimitNOFILE=)"
            }
            _ => "Linux 6.1 or newer is needed",
        };
        SetupError::Ring { error, advice }
    }

    /// The last system error of `what`.
    pub(crate) fn last(what: &'static str) -> SetupError {
        SetupError::System { what, error: io::Error::last_os_error() }
    }
}
