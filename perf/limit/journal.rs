//! A file of blocks that were all written before, so that a write with `RWF_DSYNC` needs no metadata.

use coretide_stdx::aligned::AlignedBuf;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const FILL_BYTES: usize = 4 << 20;
/// Write and flush in one (linux/fs.h).
const RWF_DSYNC: i32 = 0x2;

/// The journal: where the next commit goes.
pub struct Journal {
    file: File,
    bytes: u64,
    next: u64,
    durable: bool,
}

impl Journal {
    /// Makes the file, writes it once from end to end and flushes it.
    pub fn create(path: &Path, bytes: u64, durable: bool) -> Result<Journal, String> {
        let context = |e: std::io::Error| format!("{}: {e}", path.display());
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).read(true).custom_flags(libc::O_DIRECT);
        let file = options.open(path).map_err(context)?;
        let mut fill = AlignedBuf::with_capacity(FILL_BYTES);
        fill.zero_to(FILL_BYTES);
        for at in (0..bytes).step_by(FILL_BYTES) {
            let length = FILL_BYTES.min((bytes - at) as usize);
            file.write_all_at(&fill.as_slice()[..length], at).map_err(context)?;
        }
        file.sync_all().map_err(context)?;
        Ok(Journal { file, bytes, next: 0, durable })
    }

    /// The file.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The flags of each write.
    pub fn write_flags(&self) -> i32 {
        if self.durable { RWF_DSYNC } else { 0 }
    }

    /// Takes the place for a commit of that many bytes; starts over at the end.
    pub fn take_place(&mut self, bytes: u64) -> u64 {
        assert!(bytes <= self.bytes, "a commit fits into the journal");
        if self.next + bytes > self.bytes {
            self.next = 0;
        }
        let place = self.next;
        self.next += bytes;
        place
    }
}
