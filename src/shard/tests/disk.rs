//! A disk in memory.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coretide_log::io::{FileId, IoError, Op, OpOk, OpResult, VolumeSpace};

/// Files by their paths.
#[derive(Default)]
pub struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    dirs: BTreeSet<String>,
    /// Writes and syncs fail from now on.
    pub broken: bool,
    /// Reads of paths with this in them fail.
    pub unreadable: Option<String>,
    /// What the volume says of itself, if it says anything.
    pub volume: Option<VolumeSpace>,
}

fn not_found(op: &'static str, path: &str) -> IoError {
    IoError { op, path: path.into(), errno: 2, message: "no such file".into() }
}

impl Disk {
    /// Does one operation.
    pub fn run(&mut self, op: Op) -> OpResult {
        match op {
            Op::Read { file, at, len, .. } => {
                let path = file.path();
                if self.unreadable.as_ref().is_some_and(|part| path.contains(part)) {
                    return Err(IoError { op: "read", path, errno: 5, message: "broken".into() });
                }
                self.read(&file, at, len).map(OpOk::Data)
            }
            Op::Write { file, at, bytes, .. } => {
                let path = file.path();
                if self.broken {
                    return Err(IoError { op: "write", path, errno: 5, message: "broken".into() });
                }
                let content = self.files.entry(path).or_default();
                let end = at as usize + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[at as usize..end].copy_from_slice(&bytes);
                Ok(OpOk::Done)
            }
            Op::Sync { file } if self.broken => {
                Err(IoError { op: "sync", path: file.path(), errno: 5, message: "broken".into() })
            }
            Op::Sync { .. } | Op::SyncDir { .. } => Ok(OpOk::Done),
            Op::Allocate { file, len, .. } => {
                let content = self.files.entry(file.path()).or_default();
                content.resize(content.len().max(len as usize), 0);
                Ok(OpOk::Done)
            }
            Op::Truncate { file, len } => {
                let path = file.path();
                self.files.get_mut(&path).ok_or_else(|| not_found("truncate", &path))?.resize(len as usize, 0);
                Ok(OpOk::Done)
            }
            Op::Len { file } => {
                let path = file.path();
                let content = self.files.get(&path).ok_or_else(|| not_found("len", &path))?;
                Ok(OpOk::Len(content.len() as u64))
            }
            Op::Remove { file } => {
                self.files.remove(&file.path());
                Ok(OpOk::Done)
            }
            Op::MakeDir { dir } => {
                self.dirs.insert(dir.to_string());
                Ok(OpOk::Done)
            }
            Op::RenameDir { from, to } => {
                if !self.list(&to).is_empty() {
                    return Err(IoError { op: "rename", path: to.to_string(), errno: 39, message: "not empty".into() });
                }
                self.rename(&from, &to);
                Ok(OpOk::Done)
            }
            Op::RemoveDir { dir } => {
                let inside = format!("{dir}/");
                self.files.retain(|path, _| !path.starts_with(&inside));
                self.dirs.remove(&*dir);
                Ok(OpOk::Done)
            }
            Op::List { dir } => Ok(OpOk::Names(self.list(&dir))),
            Op::Volume => self.volume.map(OpOk::Volume).ok_or_else(|| not_found("statvfs", "")),
        }
    }

    /// All files whose paths have this in them, with what they hold.
    pub fn files(&self, part: &str) -> Vec<(String, Bytes)> {
        let with = self.files.iter().filter(|(path, _)| path.contains(part));
        with.map(|(path, content)| (path.clone(), Bytes::copy_from_slice(content))).collect()
    }

    /// Removes all files whose paths have this in them.
    pub fn lose(&mut self, part: &str) {
        self.files.retain(|path, _| !path.contains(part));
    }

    /// Bytes of a file.
    pub fn read(&self, file: &FileId, at: u64, len: u32) -> Result<Bytes, IoError> {
        let path = file.path();
        let content = self.files.get(&path).ok_or_else(|| not_found("read", &path))?;
        let from = content.len().min(at as usize);
        let to = content.len().min(at as usize + len as usize);
        Ok(Bytes::copy_from_slice(&content[from..to]))
    }

    fn rename(&mut self, from: &str, to: &str) {
        let inside = format!("{from}/");
        let moved: Vec<String> = self.files.keys().filter(|path| path.starts_with(&inside)).cloned().collect();
        for path in moved {
            let content = self.files.remove(&path).unwrap();
            self.files.insert(format!("{to}/{}", &path[inside.len()..]), content);
        }
        self.dirs.remove(from);
        self.dirs.insert(to.to_string());
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let inside = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let paths = self.files.keys().chain(&self.dirs);
        let below = paths.filter_map(|path| path.strip_prefix(&inside));
        let names: BTreeSet<String> = below.filter_map(|rest| rest.split('/').next()).map(str::to_string).collect();
        names.into_iter().filter(|name| !name.is_empty()).collect()
    }
}
