//! A data directory in memory that does what it is told, for starts on damaged files.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coretide_log::io::{FileId, IoError, Job, Op, OpOk, OpResult, Step, VolumeSpace};

/// No file of a fuzzed start may grow beyond this: a damaged length must not fill a disk.
const FILE_MAX_BYTES: u64 = 64 << 20;
/// The volume is never full.
const VOLUME_BYTES: u64 = 1 << 40;
/// A start or a job that takes more steps does not end.
const STEPS_MAX: usize = 20_000;

/// Files by path, and folders.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub files: BTreeMap<String, Vec<u8>>,
    dirs: BTreeSet<String>,
}

fn absent(op: &'static str, path: &str) -> IoError {
    IoError { op, path: path.to_string(), errno: 2, message: "absent".to_string() }
}

impl Disk {
    fn file(&mut self, op: &'static str, file: &FileId) -> Result<&mut Vec<u8>, IoError> {
        let path = file.path();
        self.files.get_mut(&path).ok_or_else(|| absent(op, &path))
    }

    fn make_dirs(&mut self, mut dir: &str) {
        while !dir.is_empty() {
            self.dirs.insert(dir.to_string());
            dir = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Does one operation.
    pub fn run(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Read { file, at, len, .. } => {
                let bytes = self.file("read", file)?;
                let from = (*at as usize).min(bytes.len());
                return Ok(OpOk::Data(Bytes::copy_from_slice(&bytes[from..bytes.len().min(from + *len as usize)])));
            }
            Op::Write { file, at, bytes, .. } => {
                let (end, into) = (*at as usize + bytes.len(), self.files.entry(file.path()).or_default());
                assert!(end as u64 <= FILE_MAX_BYTES, "a write at {at}");
                into.resize(into.len().max(end), 0);
                into[*at as usize..end].copy_from_slice(bytes);
            }
            Op::Allocate { file, len, .. } => {
                assert!(*len <= FILE_MAX_BYTES, "{len} bytes for {}", file.path());
                let path = file.path();
                self.make_dirs(path.rsplit_once('/').map_or("", |(dir, _)| dir));
                let into = self.files.entry(path).or_default();
                into.resize(into.len().max(*len as usize), 0);
            }
            Op::Truncate { file, len } => {
                assert!(*len <= FILE_MAX_BYTES, "{} is cut to {len} bytes", file.path());
                self.file("truncate", file)?.resize(*len as usize, 0);
            }
            Op::Len { file } => return Ok(OpOk::Len(self.file("len", file)?.len() as u64)),
            Op::Remove { file } => drop(self.files.remove(&file.path())),
            Op::MakeDir { dir } => self.make_dirs(dir),
            Op::RemoveDir { dir } => {
                self.files.retain(|path, _| !path.starts_with(&format!("{dir}/")));
                self.dirs.retain(|known| known != &**dir && !known.starts_with(&format!("{dir}/")));
            }
            Op::RenameDir { from, to } => {
                if self.files.keys().any(|path| path.starts_with(&format!("{to}/"))) {
                    return Err(IoError { op: "rename", path: to.to_string(), errno: 39, message: "not empty".into() });
                }
                let moved: Vec<String> =
                    self.files.keys().filter(|path| path.starts_with(&format!("{from}/"))).cloned().collect();
                for path in moved {
                    let bytes = self.files.remove(&path).expect("just listed");
                    self.files.insert(path.replacen(&**from, to, 1), bytes);
                }
                self.dirs.remove(&**from);
                self.make_dirs(to);
            }
            Op::List { dir } => return self.list(dir),
            Op::Volume => {
                return Ok(OpOk::Volume(VolumeSpace { total_bytes: VOLUME_BYTES, free_bytes: VOLUME_BYTES / 2 }));
            }
            Op::Sync { file } => drop(self.file("sync", file)?),
            Op::SyncDir { .. } => {}
        }
        Ok(OpOk::Done)
    }

    fn list(&self, dir: &str) -> OpResult {
        if !dir.is_empty() && !self.dirs.contains(dir) {
            return Err(absent("list", dir));
        }
        let within = |path: &String| {
            let rest = if dir.is_empty() { path.as_str() } else { path.strip_prefix(dir)?.strip_prefix('/')? };
            rest.split('/').next().map(str::to_string)
        };
        let names: BTreeSet<String> = self.files.keys().chain(&self.dirs).filter_map(within).collect();
        Ok(OpOk::Names(names.into_iter().collect()))
    }

    /// Runs a job to its end.
    pub fn job<J: Job>(&mut self, mut job: J) -> J::Output {
        let mut results = Vec::new();
        for _ in 0..STEPS_MAX {
            let ops = match job.step(std::mem::take(&mut results)) {
                Step::Done(output) => return output,
                Step::Do(ops) => ops,
            };
            for op in &ops {
                let result = self.run(op);
                let failed = result.is_err();
                results.push(result);
                if failed {
                    break;
                }
            }
        }
        panic!("it does not end");
    }
}
