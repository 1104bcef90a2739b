//! File operations as data, and their execution by plain blocking system calls below one folder: what background threads
//! and the boot use. Descriptors are opened on use and closed by age.
//! Must never touch: the hot ring; what the files mean.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use coretide_stdx::aligned::{AlignedBuf, BLOCK_BYTES, BufPool, blocks_down, blocks_up};

use crate::facts::Facts;
use crate::sys;

/// Descriptors that one [`Disk`] keeps open between operations.
pub const OPEN_FILES_MAX: usize = 256;
/// Bytes of zeros written at a time into a file that is to be pre-written.
const ZERO_CHUNK_BYTES: usize = 1 << 20;
/// Sizes of the pooled buffers for direct reads, and how many free ones of each are kept; larger reads get memory of their
/// own. The large ones are for what consumers ask for by default, 1 MiB, and the blocks around it: of their memory only
/// what was once read into is resident.
const READ_BUFFERS: [(usize, usize); 2] = [(256 << 10, 8), (2 << 20, 16)];

/// While clients wait for commits, direct reads go to the disk in pieces of this size, and only one of each [`Disk`] at a
/// time: what a commit writes waits behind all reads that the disk has already got.
const READ_PIECE_BYTES: usize = 256 << 10;
/// For how long after a commit more of them are expected.
const COMMITS_GO_ON_MS: u64 = 200;

/// One operation; every path is below the [`Disk`]'s folder.
#[derive(Clone, Debug)]
pub enum FileOp {
    /// Reads up to `len` bytes; fewer come back only at the end of the file. `direct`: past the page cache.
    Read { path: String, at: u64, len: u32, direct: bool },
    /// Writes all bytes, creating the file if need be. `durable`: with `RWF_DSYNC`.
    Write { path: String, at: u64, bytes: Bytes, direct: bool, durable: bool },
    /// fdatasync.
    Sync { path: String },
    /// Makes the entries of a folder durable.
    SyncDir { path: String },
    /// Creates the file if absent (with its folder) and extends it to `len` allocated bytes. `zeros`: what is new is
    /// also written, so that later writes change no metadata.
    Allocate { path: String, len: u64, zeros: bool },
    /// Cuts or extends.
    Truncate { path: String, len: u64 },
    /// The length.
    Len { path: String },
    /// Removes a file; an absent one is fine.
    Remove { path: String },
    /// Creates a folder and its parents; an existing one is fine.
    MakeDir { path: String },
    /// Renames a folder.
    RenameDir { from: String, to: String },
    /// Removes a folder and all in it; an absent one is fine.
    RemoveDir { path: String },
    /// The names in a folder, sorted.
    List { path: String },
    /// Size and room of the volume that the disk's folder is on.
    Volume,
}

/// The success of a [`FileOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOk {
    /// Done.
    Done,
    /// Bytes read.
    Data(Bytes),
    /// A length in bytes.
    Len(u64),
    /// Names in a folder.
    Names(Vec<String>),
    /// The volume: bytes in all, and bytes that this process may still fill.
    Volume { total_bytes: u64, free_bytes: u64 },
}

/// The folder itself in messages.
const DISK_ITSELF: &str = "the data directory";

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} of {path} failed: {message} (errno {errno})")]
pub struct FileError {
    /// The operation's name.
    pub op: &'static str,
    /// The path below the disk's folder, or "the data directory" for that folder itself.
    pub path: String,
    /// The system's error number.
    pub errno: i32,
    /// The system's words.
    pub message: String,
}

impl FileError {
    /// From the system's answer.
    pub fn new(op: &'static str, path: &str, error: &io::Error) -> FileError {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let message = error.to_string();
        // The number is a field of its own.
        let words = message.split(" (os error").next().unwrap_or_default().to_string();
        let path = if path.is_empty() { DISK_ITSELF } else { path };
        FileError { op, path: path.to_string(), errno, message: words }
    }
}

/// What came of a [`FileOp`].
pub type FileResult = Result<FileOk, FileError>;

impl FileOp {
    /// The folder or file whose old descriptors mean nothing once this operation has succeeded.
    pub fn invalidates(&self) -> Option<&str> {
        match self {
            FileOp::Remove { path } | FileOp::RemoveDir { path } => Some(path),
            FileOp::RenameDir { from, .. } => Some(from),
            _ => None,
        }
    }

    fn name_and_path(&self) -> (&'static str, &str) {
        match self {
            FileOp::Read { path, .. } => ("read", path),
            FileOp::Write { path, .. } => ("write", path),
            FileOp::Sync { path } => ("fdatasync", path),
            FileOp::SyncDir { path } => ("fsync", path),
            FileOp::Allocate { path, .. } => ("fallocate", path),
            FileOp::Truncate { path, .. } => ("truncate", path),
            FileOp::Len { path } => ("stat", path),
            FileOp::Remove { path } => ("remove", path),
            FileOp::MakeDir { path } => ("mkdir", path),
            FileOp::RenameDir { from, .. } => ("rename", from),
            FileOp::RemoveDir { path } => ("remove", path),
            FileOp::List { path } => ("list", path),
            FileOp::Volume => ("statvfs", ""),
        }
    }
}

/// True when `path` is `gone` or lies in the folder `gone`.
pub fn is_under(path: &str, gone: &str) -> bool {
    path.strip_prefix(gone).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct OpenFile {
    file: Arc<File>,
    used: u64,
}

#[derive(Default)]
struct OpenFiles {
    by_path: BTreeMap<(String, bool), OpenFile>,
    clock: u64,
}

/// When this process last wrote what clients wait for. All its disks look here: what one shard reads, the commits of the
/// others wait for, too.
pub struct Commits {
    since: Instant,
    last_ms: AtomicU64,
}

impl Commits {
    /// None yet; times count from `since`.
    pub fn new(since: Instant) -> Commits {
        Commits { since, last_ms: AtomicU64::new(0) }
    }

    /// One is on its way, so many microseconds after the beginning.
    pub fn note(&self, now_us: u64) {
        // Never 0, which stands for never.
        let (now_ms, last_ms) = (now_us / 1000 + 1, self.last_ms.load(Ordering::Relaxed));
        // Written once in a while only, for other cores read it.
        if last_ms == 0 || now_ms > last_ms + COMMITS_GO_ON_MS / 4 {
            self.last_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn go_on(&self, now: Instant) -> bool {
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        last_ms > 0 && now.duration_since(self.since).as_millis() as u64 <= last_ms + COMMITS_GO_ON_MS
    }
}

/// A folder of files. Shared by the threads of one background executor.
pub struct Disk {
    root: PathBuf,
    direct: bool,
    open: Mutex<OpenFiles>,
    buffers: [BufPool; 2],
    commits: Option<Arc<Commits>>,
    /// Whose piece it is to be read while commits go on.
    turn: Mutex<()>,
}

impl Disk {
    /// The files below `root`. `direct`: its file system takes `O_DIRECT`; where it does not, direct operations go
    /// through the page cache.
    pub fn new(root: &Path, direct: bool) -> Disk {
        let buffers = READ_BUFFERS.map(|(bytes, kept)| BufPool::new(bytes, kept));
        let (open, turn) = (Mutex::default(), Mutex::default());
        Disk { root: root.to_path_buf(), direct, open, buffers, commits: None, turn }
    }

    /// The same, whose direct reads give way to these commits.
    pub fn giving_way_to(self, commits: Arc<Commits>) -> Disk {
        Disk { commits: Some(commits), ..self }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// True when direct operations really are.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Executes in order, up to and including the first failure.
    pub fn execute_all(&self, ops: &[FileOp]) -> Vec<FileResult> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            let result = self.execute(op);
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
        results
    }

    /// Executes one operation; blocks.
    pub fn execute(&self, op: &FileOp) -> FileResult {
        let done = self.try_execute(op);
        if done.is_ok()
            && let Some(gone) = op.invalidates()
        {
            self.forget(gone);
        }
        done.map_err(|error| {
            let (name, path) = op.name_and_path();
            FileError::new(name, path, &error)
        })
    }

    fn try_execute(&self, op: &FileOp) -> io::Result<FileOk> {
        match op {
            FileOp::Read { path, at, len, direct } => self.read(path, *at, *len as usize, *direct).map(FileOk::Data),
            FileOp::Write { path, at, bytes, direct, durable } => {
                let direct = *direct && self.direct && is_aligned(bytes) && at % BLOCK_BYTES as u64 == 0;
                let file = self.open(path, direct, true)?;
                sys::write_all_at(&file, bytes, *at, *durable)?;
                Ok(FileOk::Done)
            }
            FileOp::Sync { path } => self.open(path, false, false)?.sync_data().map(|()| FileOk::Done),
            FileOp::SyncDir { path } => File::open(self.at(path))?.sync_all().map(|()| FileOk::Done),
            FileOp::Allocate { path, len, zeros } => self.allocate(path, *len, *zeros).map(|()| FileOk::Done),
            FileOp::Truncate { path, len } => self.open(path, false, false)?.set_len(*len).map(|()| FileOk::Done),
            FileOp::Len { path } => Facts::at(&self.at(path)).map(|found| FileOk::Len(found.len)),
            FileOp::Remove { path } => absent_is_fine(fs::remove_file(self.at(path))),
            FileOp::MakeDir { path } => fs::create_dir_all(self.at(path)).map(|()| FileOk::Done),
            FileOp::RenameDir { from, to } => fs::rename(self.at(from), self.at(to)).map(|()| FileOk::Done),
            FileOp::RemoveDir { path } => absent_is_fine(fs::remove_dir_all(self.at(path))),
            FileOp::List { path } => self.list(path).map(FileOk::Names),
            FileOp::Volume => {
                let (total_bytes, free_bytes) = sys::volume_bytes(&self.root)?;
                Ok(FileOk::Volume { total_bytes, free_bytes })
            }
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// An open descriptor, from the cache or new. `create`: an absent file is made, and its folder.
    fn open(&self, path: &str, direct: bool, create: bool) -> io::Result<Arc<File>> {
        let direct = direct && self.direct;
        let key = (path.to_string(), direct);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let used = open.clock;
        // Another thread's disk may have removed the file, and a new one may be there under its name.
        if let Some(found) = open.by_path.get_mut(&key)
            && Facts::of(&found.file)?.links > 0
        {
            found.used = used;
            return Ok(Arc::clone(&found.file));
        }
        open.by_path.remove(&key);
        let file = Arc::new(open_file(&self.at(path), direct, create)?);
        if open.by_path.len() >= OPEN_FILES_MAX {
            let oldest = open.by_path.iter().min_by_key(|(_, file)| file.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| open.by_path.remove(&key));
        }
        open.by_path.insert(key, OpenFile { file: Arc::clone(&file), used });
        Ok(file)
    }

    /// Closes what is open below `gone`.
    fn forget(&self, gone: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_path.retain(|(path, _), _| !is_under(path, gone));
    }

    fn read(&self, path: &str, at: u64, len: usize, direct: bool) -> io::Result<Bytes> {
        if !(direct && self.direct) {
            let file = self.open(path, false, false)?;
            let mut bytes = vec![0; readable(&file, at, len)?];
            let filled = sys::read_full_at(&file, &mut bytes, at)?;
            bytes.truncate(filled);
            return Ok(Bytes::from(bytes));
        }
        let file = self.open(path, true, false)?;
        let from = at / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let skip = (at - from) as usize;
        let len = readable(&file, at, len)?;
        let wanted = blocks_up(skip + len);
        let mut buffer = BufPool::fitting(&self.buffers, wanted).take(wanted);
        let filled = self.read_direct(&file, &mut buffer.whole_mut()[..wanted], from)?;
        buffer.set_len(filled);
        let end = filled.min(skip + len);
        Ok(if end <= skip { Bytes::new() } else { buffer.freeze().slice(skip..end) })
    }

    /// Reads until `into` is full or the file ends; yields how much there was.
    fn read_direct(&self, file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            let gives_way = self.commits.as_ref().is_some_and(|commits| commits.go_on(Instant::now()));
            let _turn = gives_way.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            let most = if gives_way { READ_PIECE_BYTES } else { usize::MAX };
            let end = into.len().min(filled.saturating_add(most));
            let read = sys::read_full_at(file, &mut into[filled..end], at + filled as u64)?;
            filled += read;
            if filled < end {
                break;
            }
        }
        Ok(filled)
    }

    fn allocate(&self, path: &str, len: u64, zeros: bool) -> io::Result<()> {
        let file = self.open(path, false, true)?;
        let old = Facts::of(&file)?.len;
        if old >= len {
            return Ok(());
        }
        if !zeros {
            return sys::allocate(&file, len, false);
        }
        // The length moves with the zeros, so that after a crash it tells how much is really written.
        sys::allocate(&file, len, true)?;
        let file = self.open(path, true, false)?;
        let mut zeros = AlignedBuf::with_capacity(ZERO_CHUNK_BYTES);
        zeros.zero_to(ZERO_CHUNK_BYTES);
        let mut at = blocks_down(old as usize) as u64;
        while at < len {
            let step = (len - at).min(ZERO_CHUNK_BYTES as u64) as usize;
            sys::write_all_at(&file, &zeros.as_slice()[..blocks_up(step)], at, false)?;
            at += blocks_up(step) as u64;
        }
        file.set_len(len)?;
        file.sync_all()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(path))? {
            // A name that is not UTF-8 is none of ours.
            if let Some(name) = OsStr::to_str(&entry?.file_name()) {
                names.push(name.to_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// How much of `len` bytes from `at` the file has, so that a length from outside never decides an allocation.
fn readable(file: &File, at: u64, len: usize) -> io::Result<usize> {
    Ok(Facts::of(file)?.len.saturating_sub(at).min(len as u64) as usize)
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<FileOk> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(FileOk::Done),
    }
}

/// True when address and length suit direct IO.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES)
}

/// Opens for reading and writing; `create` makes the file and its folder.
pub(crate) fn open_file(path: &Path, direct: bool, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    if direct {
        options.custom_flags(libc::O_DIRECT);
    }
    match options.open(path) {
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().ok_or(error)?;
            fs::create_dir_all(folder)?;
            options.open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests;
