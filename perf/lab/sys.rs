//! The calls that the standard library has no words for: waiting for several sockets, a thread's CPU time.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// A socket to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    /// The socket.
    pub fd: RawFd,
    /// Also wait until it can be written to.
    pub write: bool,
}

/// Waits until one of the sockets can be read from (or written to), or the time is over.
/// `scratch` is room that is used again from call to call.
pub fn wait(interests: &[Interest], timeout: Duration, scratch: &mut Vec<libc::pollfd>) -> io::Result<()> {
    scratch.clear();
    scratch.extend(interests.iter().map(|interest| {
        let events = if interest.write { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        libc::pollfd { fd: interest.fd, events, revents: 0 }
    }));
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the pointer and the length are of one live vector, the time lives until the call ends, and no signal mask
    // is given.
    let done = unsafe {
        libc::ppoll(scratch.as_mut_ptr(), scratch.len() as libc::nfds_t, &raw const timeout, std::ptr::null())
    };
    match done {
        -1 => Err(io::Error::last_os_error()).or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }),
        _ => Ok(()),
    }
}

/// Lets the thread's sleeps end when they should: without it the kernel may add 50 µs.
pub fn precise_sleep() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    assert_eq!(done, 0, "every thread may set its own timer slack");
}

/// CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes one timespec, which is ours.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0, "every thread has a CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes free on the volume that holds `path`, and its size.
pub fn volume_bytes(path: &std::path::Path) -> io::Result<(u64, u64)> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is a valid value of that plain struct.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string and the struct is ours.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

/// Waits until the file system that holds `path` has written everything down.
pub fn sync_file_system(path: &std::path::Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(path)?;
    // SAFETY: the descriptor is open until the end of this function, and no memory is passed.
    if unsafe { libc::syncfs(folder.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes all files below `folder` out of the page cache, as far as they are written down. Files that vanish meanwhile are fine.
pub fn drop_from_page_cache(folder: &std::path::Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let dropped = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => drop_from_page_cache(&path),
            Ok(meta) if meta.is_file() => std::fs::File::open(&path).and_then(|file| {
                // SAFETY: the descriptor is open until the end of this closure, and no memory is passed.
                match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code)),
                }
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match dropped {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    #[test]
    fn a_wait_ends_with_data_or_with_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (b, _) = listener.accept().unwrap();
        let interest = [Interest { fd: b.as_raw_fd(), write: false }];
        let mut scratch = Vec::new();
        let begun = Instant::now();
        wait(&interest, Duration::from_millis(5), &mut scratch).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(5));
        assert_eq!(scratch[0].revents, 0);
        a.write_all(b"x").unwrap();
        wait(&interest, Duration::from_secs(60), &mut scratch).unwrap();
        assert_eq!(scratch[0].revents, libc::POLLIN);
    }

    #[test]
    fn threads_use_time_and_volumes_have_room() {
        assert!(thread_cpu() > Duration::ZERO);
        let (free, all) = volume_bytes(std::path::Path::new("/")).unwrap();
        assert!(free <= all && all > 0);
    }
}
