//! File writes and syncs on the hot ring.
//! Must never touch: what is written; reads and everything that may block for long (they are the background's).

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use coretide_stdx::aligned::{AlignedBuf, BLOCK_BYTES, blocks_down};
use io_uring::{opcode, types};
use std::os::fd::AsRawFd;

use crate::facts::Facts;
use crate::fs::{FileError, is_aligned, open_file};
use crate::reactor::{Event, Reactor, errno_error};
use crate::ring::{Completion, Kind, tag};
use crate::slab::Key;

/// A file that the hot thread writes, open until its last operation is back.
pub struct HotFile {
    pub(crate) file: File,
    pub(crate) path: String,
    pub(crate) direct: bool,
}

/// A write or sync on its way; its slot keeps file and bytes until it is back.
pub(crate) struct FileTask {
    id: u64,
    file: Arc<HotFile>,
    bytes: Bytes,
    at: u64,
    done: usize,
    durable: bool,
}

impl HotFile {
    /// Opens (or makes) `root/path` for writing; `direct`: with `O_DIRECT`.
    pub fn open(root: &Path, path: &str, direct: bool) -> Result<Arc<HotFile>, FileError> {
        let file = open_file(&root.join(path), direct, true).map_err(|error| FileError::new("open", path, &error))?;
        Ok(Arc::new(HotFile { file, path: path.to_string(), direct }))
    }

    /// Which file it is: device and inode.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        Facts::of(&self.file).map(|found| found.identity)
    }
}

impl Reactor {
    /// Writes all of `bytes` at `at`; `durable`: they are on stable storage when [`Event::FileDone`] comes. On a direct
    /// file, offset and length are whole blocks.
    pub fn write(&mut self, id: u64, file: &Arc<HotFile>, at: u64, bytes: Bytes, durable: bool) -> io::Result<()> {
        let bytes = if file.direct && !is_aligned(&bytes) { realign(&bytes) } else { bytes };
        let task = FileTask { id, file: Arc::clone(file), bytes, at, done: 0, durable };
        let key = self.files.insert(task);
        self.submit_write(key)
    }

    /// fdatasync; [`Event::FileDone`] follows.
    pub fn sync(&mut self, id: u64, file: &Arc<HotFile>) -> io::Result<()> {
        let task = FileTask { id, file: Arc::clone(file), bytes: Bytes::new(), at: 0, done: 0, durable: true };
        let fd = types::Fd(task.file.file.as_raw_fd());
        let key = self.files.insert(task);
        let entry = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        // SAFETY: the task keeps the file open until the completion.
        unsafe { self.ring.push(&entry.user_data(tag(Kind::FileSync, key))) }
    }

    fn submit_write(&mut self, key: Key) -> io::Result<()> {
        self.writes_queued = true;
        let Some(task) = self.files.get_mut(key) else { return Ok(()) };
        let rest = &task.bytes[task.done..];
        let flags = if task.durable { libc::RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(types::Fd(task.file.file.as_raw_fd()), rest.as_ptr(), rest.len() as u32)
            .offset(task.at + task.done as u64)
            .rw_flags(flags)
            .build()
            .user_data(tag(Kind::FileWrite, key));
        // SAFETY: the task keeps the bytes and the file until the completion.
        unsafe { self.ring.push(&entry) }
    }

    pub(crate) fn on_file(&mut self, completion: Completion, events: &mut Vec<Event>) -> io::Result<()> {
        let Some((key, task)) = self.files.at_mut(completion.index) else { return Ok(()) };
        debug_assert!(completion.is_for(key), "slots outlive their operations");
        let mut failure = None;
        if completion.result < 0 {
            failure = Some(errno_error(completion.result));
        } else if completion.kind == Kind::FileWrite {
            task.done += completion.result as usize;
            if task.done < task.bytes.len() {
                if completion.result == 0 {
                    failure = Some(io::Error::from_raw_os_error(libc::EIO));
                } else {
                    // A direct write goes on at a block border; writing the same bytes again is harmless.
                    if task.file.direct {
                        task.done = blocks_down(task.done);
                    }
                    return self.submit_write(key);
                }
            }
        }
        let Some(task) = self.files.remove(key) else { return Ok(()) };
        let op = if completion.kind == Kind::FileSync { "fdatasync" } else { "write" };
        let result = match failure {
            None => Ok(()),
            Some(error) => Err(FileError::new(op, &task.file.path, &error)),
        };
        events.push(Event::FileDone { id: task.id, result });
        Ok(())
    }
}

fn realign(bytes: &[u8]) -> Bytes {
    assert!(bytes.len().is_multiple_of(BLOCK_BYTES), "a direct write of {} bytes is not whole blocks", bytes.len());
    let mut buffer = AlignedBuf::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}
