//! A small disk in memory. A write is seen at once, but survives a crash only if it was durable or synced; otherwise any
//! subset of its 512-byte sectors does. A new file's name survives only if its folder was synced.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coretide_stdx::prng::Prng;

use crate::io::{Durability, FileId, IoError, Op, OpOk, OpResult, VolumeSpace};

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Bytes),
    Len(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    linked: bool,
}

fn write(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.durable = self.live.clone();
        self.pending.clear();
    }
}

impl Change {
    fn apply(&self, into: &mut Vec<u8>) {
        match self {
            Change::Write(at, bytes) => write(into, *at, bytes),
            Change::Len(len) => into.resize(*len, 0),
        }
    }
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<String, File>,
    dirs: BTreeSet<String>,
    /// Paths with this in them fail: the operation's name, and the error number.
    pub faults: Vec<(&'static str, String, i32)>,
    /// Bytes read in all.
    pub bytes_read: u64,
    /// What all files may have together; none: no end.
    pub capacity: Option<u64>,
    /// After so many more operations that change something, one fails with EIO; a failed sync forgets what it was to save.
    pub fails_in: Option<u64>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn error(op: &'static str, path: &str, errno: i32) -> IoError {
    IoError { op, path: path.to_string(), errno, message: "injected or absent".to_string() }
}

impl Disk {
    fn fault(&self, op: &'static str, path: &str) -> Result<(), IoError> {
        match self.faults.iter().find(|(name, part, _)| *name == op && path.contains(part.as_str())) {
            Some((_, _, errno)) => Err(error(op, path, *errno)),
            None => Ok(()),
        }
    }

    fn make_dirs(&mut self, dir: &str) {
        let mut at = dir;
        while !at.is_empty() {
            self.dirs.insert(at.to_string());
            at = parent(at);
        }
    }

    /// What all files have together.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.live.len() as u64).sum()
    }

    /// A file is to have at least `len` bytes.
    fn take_space(&self, op: &'static str, path: &str, len: usize) -> Result<(), IoError> {
        let growth = len.saturating_sub(self.file(path).map_or(0, <[u8]>::len)) as u64;
        let full = |capacity| growth > 0 && self.used() + growth > capacity;
        if self.capacity.is_some_and(full) { Err(error(op, path, 28)) } else { Ok(()) }
    }

    /// True for the one operation that is to fail.
    fn fails_now(&mut self, op: &Op) -> bool {
        if matches!(op, Op::Read { .. } | Op::Len { .. } | Op::List { .. } | Op::Volume) {
            return false;
        }
        let left = self.fails_in;
        self.fails_in = left.and_then(|left| left.checked_sub(1));
        left == Some(0)
    }

    /// Does one operation.
    pub fn run(&mut self, op: &Op) -> OpResult {
        if self.fails_now(op) {
            if let Op::Sync { file } = op
                && let Some(file) = self.files.get_mut(&file.path())
            {
                file.pending.clear();
            }
            return Err(error("any", "", 5));
        }
        match op {
            Op::Read { file, at, len, direct: _ } => self.read(file, *at as usize, *len as usize),
            Op::Write { file, at, bytes, direct, durability } => {
                let path = file.path();
                self.fault("write", &path)?;
                self.take_space("write", &path, *at as usize + bytes.len())?;
                if *direct {
                    assert_eq!(*at % 4096, 0, "direct writes are aligned: {path} at {at}");
                    assert_eq!(bytes.len() % 4096, 0, "direct writes are whole blocks: {path}");
                    assert_eq!(bytes.as_ptr() as usize % 4096, 0, "direct writes come from aligned memory: {path}");
                }
                let file = self.files.entry(path).or_default();
                file.change(Change::Write(*at as usize, bytes.clone()));
                if *durability == Durability::Durable {
                    write(&mut file.durable, *at as usize, bytes);
                    file.pending.pop();
                }
                Ok(OpOk::Done)
            }
            Op::Sync { file } => {
                let path = file.path();
                self.fault("sync", &path)?;
                self.files.get_mut(&path).ok_or_else(|| error("sync", &path, 2))?.sync();
                Ok(OpOk::Done)
            }
            Op::SyncDir { dir } => {
                for (path, file) in &mut self.files {
                    if parent(path) == &**dir {
                        file.linked = true;
                    }
                }
                Ok(OpOk::Done)
            }
            Op::Allocate { file, len, zeros } => {
                let path = file.path();
                self.fault("allocate", &path)?;
                self.take_space("allocate", &path, *len as usize)?;
                self.make_dirs(parent(&path));
                let file = self.files.entry(path).or_default();
                if file.live.len() < *len as usize {
                    file.change(Change::Len(*len as usize));
                }
                if *zeros {
                    file.change(Change::Write(0, Bytes::from(vec![0; *len as usize])));
                }
                Ok(OpOk::Done)
            }
            Op::Truncate { file, len } => {
                let path = file.path();
                let file = self.files.get_mut(&path).ok_or_else(|| error("truncate", &path, 2))?;
                file.change(Change::Len(*len as usize));
                Ok(OpOk::Done)
            }
            Op::Len { file } => {
                let path = file.path();
                let file = self.files.get(&path).ok_or_else(|| error("len", &path, 2))?;
                Ok(OpOk::Len(file.live.len() as u64))
            }
            _ => self.run_names(op),
        }
    }

    fn read(&mut self, file: &FileId, at: usize, len: usize) -> OpResult {
        let path = file.path();
        self.fault("read", &path)?;
        let file = self.files.get(&path).ok_or_else(|| error("read", &path, 2))?;
        let end = (at + len).min(file.live.len());
        let bytes = file.live.get(at..end).unwrap_or_default();
        self.bytes_read += bytes.len() as u64;
        Ok(OpOk::Data(Bytes::copy_from_slice(bytes)))
    }

    fn run_names(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Remove { file } => {
                self.files.remove(&file.path());
            }
            Op::MakeDir { dir } => self.make_dirs(dir),
            Op::RenameDir { from, to } => {
                if self.files.keys().any(|path| path.starts_with(&format!("{to}/"))) {
                    return Err(IoError { op: "rename", path: to.to_string(), errno: 39, message: "not empty".into() });
                }
                let moved: Vec<String> =
                    self.files.keys().filter(|path| path.starts_with(&format!("{from}/"))).cloned().collect();
                for path in moved {
                    let file = self.files.remove(&path).expect("listed above");
                    self.files.insert(path.replacen(&**from, to, 1), file);
                }
                self.dirs.remove(&**from);
                self.dirs.insert(to.to_string());
            }
            Op::RemoveDir { dir } => {
                self.files.retain(|path, _| !path.starts_with(&format!("{dir}/")));
                self.dirs.retain(|known| known != &**dir && !known.starts_with(&format!("{dir}/")));
            }
            Op::List { dir } => return self.list(dir),
            Op::Volume => {
                let total_bytes = self.capacity.unwrap_or(1 << 50);
                let free_bytes = total_bytes.saturating_sub(self.used());
                return Ok(OpOk::Volume(VolumeSpace { total_bytes, free_bytes }));
            }
            other => panic!("{other:?} is done elsewhere"),
        }
        Ok(OpOk::Done)
    }

    fn list(&self, dir: &str) -> OpResult {
        if !dir.is_empty() && !self.dirs.contains(dir) {
            return Err(error("list", dir, 2));
        }
        let within = |path: &String| {
            let rest = if dir.is_empty() { path.as_str() } else { path.strip_prefix(dir)?.strip_prefix('/')? };
            rest.split('/').next().map(str::to_string)
        };
        let names: BTreeSet<String> = self.files.keys().chain(self.dirs.iter()).filter_map(within).collect();
        Ok(OpOk::Names(names.into_iter().collect()))
    }

    /// Begins an operation that the crash interrupts: some of its sectors may land.
    pub fn begin(&mut self, op: &Op) {
        if let Op::Write { file, at, bytes, .. } = op
            && let Some(file) = self.files.get_mut(&file.path())
        {
            file.pending.push(Change::Write(*at as usize, bytes.clone()));
        }
    }

    /// Power fails.
    pub fn crash(&mut self, prng: &mut Prng) {
        let lost = |file: &File, prng: &mut Prng| !file.linked && prng.chance(1, 2);
        let gone: Vec<String> =
            self.files.iter().filter(|(_, file)| lost(file, prng)).map(|(path, _)| path.clone()).collect();
        gone.iter().for_each(|path| drop(self.files.remove(path)));
        for file in self.files.values_mut() {
            for change in std::mem::take(&mut file.pending) {
                match change {
                    _ if prng.chance(1, 3) => {}
                    Change::Len(len) => Change::Len(len).apply(&mut file.durable),
                    Change::Write(at, bytes) => {
                        let torn = prng.chance(1, 2);
                        for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                            if !torn || prng.chance(1, 2) {
                                write(&mut file.durable, at + n * SECTOR, sector);
                            }
                        }
                    }
                }
            }
            file.live = file.durable.clone();
            file.linked = true;
        }
        self.faults.clear();
    }

    /// A process dies: everything written stays.
    pub fn kill(&mut self) {
        for file in self.files.values_mut() {
            file.sync();
            file.linked = true;
        }
        self.faults.clear();
    }

    /// A file's bytes.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.live.as_slice())
    }

    /// Changes a file behind everybody's back.
    pub fn corrupt(&mut self, path: &str, at: usize) {
        let file = self.files.get_mut(path).expect("the file to corrupt exists");
        file.live[at] ^= 0xFF;
        file.durable = file.live.clone();
    }

    /// Changes bits of a byte behind everybody's back.
    pub fn flip(&mut self, path: &str, at: usize, bits: u8) {
        let file = self.files.get_mut(path).expect("the file exists");
        file.live[at] ^= bits;
        file.durable = file.live.clone();
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path).expect("the file exists");
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }
}
