//! The few system calls on files that the standard library does not offer.
//! Must never touch: rings, state.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Writes all of `bytes` at `at`; `durable`: each piece with `RWF_DSYNC`. A piece that fails is never tried again.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], at: u64, durable: bool) -> io::Result<()> {
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let piece = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let at = (at + done as u64) as libc::off_t;
        // SAFETY: one iovec over readable memory that outlives the call; the kernel only reads it.
        let written = unsafe { libc::pwritev2(file.as_raw_fd(), &piece, 1, at, flags) };
        if written < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if written == 0 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        done += written as usize;
    }
    Ok(())
}

/// Fills `into` from `at` as far as the file goes; returns the bytes read.
pub(crate) fn read_full_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A short direct read that ends inside a block has reached the end of the file: going on would not be aligned.
        if done % coretide_stdx::aligned::BLOCK_BYTES != 0 && done < into.len() {
            break;
        }
    }
    Ok(done)
}

/// Allocates the first `len` bytes; `keep_size`: without moving the file's length.
pub(crate) fn allocate(file: &File, len: u64, keep_size: bool) -> io::Result<()> {
    let mode = if keep_size { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
    // SAFETY: plain integers.
    if unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, len as libc::off_t) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A file system without preallocation: the length still moves, the blocks come with the writes.
        Some(libc::EOPNOTSUPP) if keep_size => Ok(()),
        Some(libc::EOPNOTSUPP) => file.set_len(len),
        _ => Err(error),
    }
}

/// Size and room of the volume that holds `path`, in bytes; the room is what a user without privileges may fill.
pub(crate) fn volume_bytes(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeros is a valid statvfs.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends with a zero byte, and a valid place for the answer.
    if unsafe { libc::statvfs(path.as_ptr(), &mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
}
