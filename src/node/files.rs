//! Between the shard's words for files and the reactor's: operations, results, and the open files of the hot thread.
//! Must never touch: what is in the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coretide_log::io::{Durability, FileId, IoError, Job, Op, OpOk, OpResult, VolumeSpace};
use coretide_reactor::facts::Facts;
use coretide_reactor::fs::{Disk, FileError, FileOk, FileOp, FileResult, is_under};
use coretide_reactor::hotfile::HotFile;

/// Files that a hot thread keeps open for writing, and as many for reading.
pub const HOT_FILES_MAX: usize = 256;

/// The reactor's operation for the shard's.
pub fn to_file_op(op: Op) -> FileOp {
    let durable = |durability| durability == Durability::Durable;
    match op {
        Op::Read { file, at, len, direct } => FileOp::Read { path: file.path(), at, len, direct },
        Op::Write { file, at, bytes, direct, durability } => {
            FileOp::Write { path: file.path(), at, bytes, direct, durable: durable(durability) }
        }
        Op::Sync { file } => FileOp::Sync { path: file.path() },
        Op::SyncDir { dir } => FileOp::SyncDir { path: dir.to_string() },
        Op::Allocate { file, len, zeros } => FileOp::Allocate { path: file.path(), len, zeros },
        Op::Truncate { file, len } => FileOp::Truncate { path: file.path(), len },
        Op::Len { file } => FileOp::Len { path: file.path() },
        Op::Remove { file } => FileOp::Remove { path: file.path() },
        Op::MakeDir { dir } => FileOp::MakeDir { path: dir.to_string() },
        Op::RenameDir { from, to } => FileOp::RenameDir { from: from.to_string(), to: to.to_string() },
        Op::RemoveDir { dir } => FileOp::RemoveDir { path: dir.to_string() },
        Op::List { dir } => FileOp::List { path: dir.to_string() },
        Op::Volume => FileOp::Volume,
    }
}

/// The shard's result for the reactor's.
pub fn to_op_result(result: FileResult) -> OpResult {
    match result {
        Ok(FileOk::Done) => Ok(OpOk::Done),
        Ok(FileOk::Data(bytes)) => Ok(OpOk::Data(bytes)),
        Ok(FileOk::Len(len)) => Ok(OpOk::Len(len)),
        Ok(FileOk::Names(names)) => Ok(OpOk::Names(names)),
        Ok(FileOk::Volume { total_bytes, free_bytes }) => Ok(OpOk::Volume(VolumeSpace { total_bytes, free_bytes })),
        Err(error) => Err(to_io_error(error)),
    }
}

/// The shard's error for the reactor's.
pub fn to_io_error(error: FileError) -> IoError {
    IoError { op: error.op, path: error.path, errno: error.errno, message: error.message }
}

/// Runs a job to its end on the calling thread.
pub fn run_job<J: Job>(disk: &Disk, job: J) -> J::Output {
    job.run(|op| to_op_result(disk.execute(&to_file_op(op))))
}

/// Something that is open: which file it really is, whatever is called so by now.
trait Opened {
    /// Device and inode.
    fn identity(&self) -> std::io::Result<(u64, u64)>;
}

impl Opened for Arc<File> {
    fn identity(&self) -> std::io::Result<(u64, u64)> {
        Facts::of(self).map(|found| found.identity)
    }
}

impl Opened for Arc<HotFile> {
    fn identity(&self) -> std::io::Result<(u64, u64)> {
        HotFile::identity(self)
    }
}

/// True for files that another shard may remove, or rename away, while this one has them open: those in the folder of a
/// topic, which the next topic of its name gets, be it another shard's.
fn may_be_replaced(file: &FileId) -> bool {
    matches!(file, FileId::Segment { .. } | FileId::Partition { .. })
}

struct Cached<T> {
    file: T,
    identity: (u64, u64),
    used: u64,
}

/// Open files by what they are; the one unused for longest gives way.
struct Cache<T> {
    files: BTreeMap<(FileId, bool), Cached<T>>,
    clock: u64,
}

impl<T: Clone + Opened> Cache<T> {
    const fn new() -> Cache<T> {
        Cache { files: BTreeMap::new(), clock: 0 }
    }

    /// An open file. `root`: the data directory, to see there that a name still stands for what is open.
    fn get<E: From<FileError>>(
        &mut self,
        root: &Path,
        key: (FileId, bool),
        open: impl FnOnce(&FileId) -> Result<T, E>,
    ) -> Result<T, E> {
        self.clock += 1;
        if let Some(cached) = self.files.get_mut(&key) {
            let is_current =
                || Facts::at(&root.join(key.0.path())).is_ok_and(|found| found.identity == cached.identity);
            if !may_be_replaced(&key.0) || is_current() {
                cached.used = self.clock;
                return Ok(cached.file.clone());
            }
            self.files.remove(&key);
        }
        let file = open(&key.0)?;
        let identity = file.identity().map_err(|error| FileError::new("stat", &key.0.path(), &error))?;
        if self.files.len() >= HOT_FILES_MAX {
            let oldest = self.files.iter().min_by_key(|(_, cached)| cached.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.files.remove(&key));
        }
        self.files.insert(key, Cached { file: file.clone(), identity, used: self.clock });
        Ok(file)
    }

    fn forget(&mut self, gone: &str) {
        self.files.retain(|(file, _), _| !is_under(&file.path(), gone));
    }
}

/// The open files of one hot thread.
pub struct HotFiles {
    root: PathBuf,
    direct: bool,
    writing: Cache<Arc<HotFile>>,
    reading: Cache<Arc<File>>,
}

impl HotFiles {
    /// Files below `root`; `direct`: its file system takes direct IO.
    pub fn new(root: &Path, direct: bool) -> HotFiles {
        HotFiles { root: root.to_path_buf(), direct, writing: Cache::new(), reading: Cache::new() }
    }

    /// True when the file system takes direct IO.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// The file to write; `direct` where the file system can.
    pub fn writable(&mut self, file: FileId, direct: bool) -> Result<Arc<HotFile>, IoError> {
        let (root, direct) = (&self.root, direct && self.direct);
        self.writing.get(root, (file, direct), |file| HotFile::open(root, &file.path(), direct)).map_err(to_io_error)
    }

    /// The file to send from, through the page cache.
    pub fn readable(&mut self, file: FileId) -> Result<Arc<File>, IoError> {
        let root = &self.root;
        let open = |file: &FileId| {
            let opened = File::open(root.join(file.path()));
            opened.map(Arc::new).map_err(|error| FileError::new("open", &file.path(), &error))
        };
        self.reading.get(root, (file, false), open).map_err(to_io_error)
    }

    /// Closes what lies below folders or files that are gone.
    pub fn forget(&mut self, gone: &[String]) {
        for gone in gone {
            self.writing.forget(gone);
            self.reading.forget(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use coretide_log::io::SegmentFile;

    use super::*;

    #[test]
    fn a_recreated_folder_is_written_anew_after_it_was_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut files = HotFiles::new(dir.path(), false);
        let file = || FileId::Partition { dir: Arc::from("t-0"), name: "x" };
        let first = files.writable(file(), true).expect("made with its folder");
        assert!(Arc::ptr_eq(&first, &files.writable(file(), true).expect("open already")));
        files.forget(&["t-0".to_string()]);
        assert!(!Arc::ptr_eq(&first, &files.writable(file(), true).expect("open, anew")));
    }

    #[test]
    fn a_folder_that_another_shard_renamed_away_is_neither_written_nor_read_any_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut files = HotFiles::new(dir.path(), false);
        let file = || FileId::Segment { dir: Arc::from("t-0"), base_offset: 0, kind: SegmentFile::Log };
        let path = dir.path().join(file().path());
        let content = |file: &File| {
            let mut byte = [0];
            file.read_at(&mut byte, 0).expect("readable");
            byte[0]
        };
        let old = files.writable(file(), true).expect("made with its folder");
        std::fs::write(&path, [7]).expect("written");
        assert_eq!(content(&files.readable(file()).expect("there")), 7);
        // Renamed, and not removed yet.
        std::fs::rename(dir.path().join("t-0"), dir.path().join("t-0-delete")).expect("renamed");
        assert!(files.readable(file()).is_err_and(|error| error.is_not_found()));
        std::fs::create_dir(dir.path().join("t-0")).expect("made");
        std::fs::write(&path, [9]).expect("written");
        assert_eq!(content(&files.readable(file()).expect("there again")), 9);
        let new = files.writable(file(), true).expect("there");
        assert!(!Arc::ptr_eq(&old, &new) && Arc::ptr_eq(&new, &files.writable(file(), true).expect("open already")));
    }

    #[test]
    fn open_files_stay_below_their_limit() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut files = HotFiles::new(dir.path(), false);
        for no in 0..HOT_FILES_MAX as u32 + 5 {
            files.writable(FileId::Journal { shard: 0, no }, false).expect("made");
        }
        assert_eq!(files.writing.files.len(), HOT_FILES_MAX);
        let newest = (FileId::Journal { shard: 0, no: HOT_FILES_MAX as u32 + 4 }, false);
        assert!(files.writing.files.contains_key(&newest));
    }
}
