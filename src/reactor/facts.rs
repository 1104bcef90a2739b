//! What a file is and how long, without asking for its times.
//! Must never touch: rings, what a file holds.
//!
//! Since Linux 6.13 a file whose times were asked for gets a fine-grained one with its next write, and with it every other
//! file of the machine with its own next write. A file system without a journal writes an inode that changed, before a
//! `RWF_DSYNC` write returns: a `stat` of a segment made the next commit of a shard wait for one more write to the disk.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a file is, by `statx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Device and inode: the same file, whatever it is called.
    pub identity: (u64, u64),
    /// Names that it has; none once it was removed.
    pub links: u32,
    /// Its length in bytes.
    pub len: u64,
}

impl Facts {
    /// Of what stands at `path`, symbolic links followed.
    pub fn at(path: &Path) -> io::Result<Facts> {
        statx(libc::AT_FDCWD, &CString::new(path.as_os_str().as_bytes())?, 0)
    }

    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Facts> {
        statx(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    }
}

fn statx(dir: RawFd, path: &CStr, flags: i32) -> io::Result<Facts> {
    // SAFETY: all zeros is a valid statx.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_INO | libc::STATX_NLINK | libc::STATX_SIZE;
    // SAFETY: a string that ends with a zero byte, and a valid place for the answer.
    if unsafe { libc::statx(dir, path.as_ptr(), flags, mask, &mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok(Facts { identity: (device, found.stx_ino), links: found.stx_nlink, len: found.stx_size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_told_from_the_next_one_of_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut first = File::create(&path).expect("a file");
        first.write_all(b"12345").expect("written");
        assert_eq!(Facts::at(&path).expect("by name"), Facts::of(&first).expect("open"));
        assert_eq!((Facts::of(&first).expect("open").links, Facts::of(&first).expect("open").len), (1, 5));

        std::fs::remove_file(&path).expect("removed");
        assert_eq!(Facts::at(&path).expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(Facts::of(&first).expect("still open").links, 0);
        let second = File::create(&path).expect("another file");
        assert_ne!(Facts::of(&second).expect("open").identity, Facts::of(&first).expect("open").identity);
    }
}
