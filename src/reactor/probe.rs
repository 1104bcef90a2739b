//! What this machine gives and what it refuses, found out by trying.
//! Must never touch: what a refusal means for the service; the caller says that.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use coretide_stdx::aligned::{AlignedBuf, BLOCK_BYTES};

use crate::fs::open_file;
use crate::sys;

/// The name of the file that the probe writes and removes.
const PROBE_FILE: &str = ".direct-io-probe";

/// Tries one direct, durable block write and read in `dir`. An error of `EINVAL` or `EOPNOTSUPP` means that the file
/// system has no direct IO (tmpfs, some overlays); any other is a fault of the folder itself.
pub fn takes_direct_io(dir: &Path) -> io::Result<()> {
    let path = dir.join(PROBE_FILE);
    let tried = try_direct(&path);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => tried,
    }
}

fn try_direct(path: &Path) -> io::Result<()> {
    let file = open_file(path, true, true)?;
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.zero_to(BLOCK_BYTES);
    sys::write_all_at(&file, block.as_slice(), 0, true)?;
    let read = sys::read_full_at(&file, block.whole_mut(), 0)?;
    if read == BLOCK_BYTES { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EIO)) }
}

/// True when the error says "no direct IO here" and not "this folder is broken".
pub fn means_no_direct_io(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// The name of the file system that holds `dir`, where we know it.
pub fn file_system(dir: &Path) -> &'static str {
    let Ok(file) = fs::File::open(dir) else { return "unknown" };
    // SAFETY: all zeros is a valid statfs.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a valid place for the answer.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &mut found) } != 0 {
        return "unknown";
    }
    match found.f_type {
        libc::EXT4_SUPER_MAGIC => "ext2/3/4",
        libc::XFS_SUPER_MAGIC => "xfs",
        libc::BTRFS_SUPER_MAGIC => "btrfs",
        libc::TMPFS_MAGIC => "tmpfs",
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs",
        libc::NFS_SUPER_MAGIC => "nfs",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_leaves_nothing_behind_and_knows_a_missing_folder_from_missing_support() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        if let Err(error) = takes_direct_io(dir.path()) {
            assert!(means_no_direct_io(&error), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("the folder is there").count(), 0);
        let file = dir.path().join("plain");
        fs::write(&file, b"x").expect("a file");
        let error = takes_direct_io(&file).expect_err("a file is no folder");
        assert!(!means_no_direct_io(&error), "{error}");
    }
}
