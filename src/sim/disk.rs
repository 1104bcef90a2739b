//! A virtual disk: executes [`Op`]s at once and remembers what a power cut may still take back. Written from POSIX's and
//! ext4's promises only; it shares no code with what writes to it.
//!
//! What survives what:
//! - a kill of the process: all that was executed; of what was in flight, any sectors;
//! - a power cut: what was synced. Of unsynced data any subset of 512-byte sectors, each in any of its unsynced versions;
//!   of a folder's entries any prefix of the changes since its last [`Op::SyncDir`]; of a file's length likewise since its last
//!   sync. A durable write pins its own bytes and the length they need, nothing else.
//!
//! It can also be a bad disk: one that fails, is full, lies about its syncs, or lets bits rot. What it did is counted, and
//! whether a lie has cost anything, so that the judges can tell its faults from the broker's.

mod faults;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coretide_log::io::{Durability, IoError, Op, OpOk, OpResult, VolumeSpace};
use coretide_stdx::prng::Prng;

use file::SimFile;

pub use faults::{DiskFaults, DiskSins};

/// Bytes the disk takes or loses as one.
pub const SECTOR_BYTES: usize = 512;

/// What direct IO must be aligned to.
pub const DIRECT_BLOCK_BYTES: u64 = 4096;

/// How much a power cut takes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutMode {
    /// Nothing is lost, as if the device had been quick.
    KeepAll,
    /// All is lost.
    LoseAll,
    /// Sector by sector, entry by entry, at random.
    Torn,
}

#[derive(Clone, Debug)]
enum Node {
    File(SimFile),
    Dir(SimDir),
}

/// A change of a folder's entries that no sync has pinned yet.
#[derive(Clone, Debug)]
enum Change {
    Set { name: String, inode: u64 },
    Unset { name: String },
    Rename { from: String, to: String },
}

#[derive(Clone, Debug, Default)]
struct SimDir {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Change>,
    /// So many of the pending changes were said to be durable.
    lied: usize,
}

impl SimDir {
    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.durable = self.live.clone();
        self.pending.clear();
        self.lied = 0;
    }
}

fn apply(entries: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Set { name, inode } => {
            entries.insert(name.clone(), *inode);
        }
        Change::Unset { name } => {
            entries.remove(name);
        }
        Change::Rename { from, to } => {
            if let Some(inode) = entries.remove(from) {
                entries.insert(to.clone(), inode);
            }
        }
    }
}

/// The virtual disk of one broker: one data directory.
#[derive(Debug)]
pub struct SimDisk {
    nodes: BTreeMap<u64, Node>,
    next_inode: u64,
    prng: Prng,
    faults: DiskFaults,
    sins: DiskSins,
    /// Bytes that all files together may have before the disk answers ENOSPC.
    capacity_bytes: u64,
    used_bytes: u64,
}

const ROOT: u64 = 0;

/// What a volume without an end says of its size.
const ENDLESS_BYTES: u64 = 1 << 50;

impl SimDisk {
    /// An empty data directory.
    pub fn new(prng: Prng) -> SimDisk {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(SimDir::default()))]);
        SimDisk {
            nodes,
            next_inode: 1,
            prng,
            faults: DiskFaults::default(),
            sins: DiskSins::default(),
            capacity_bytes: u64::MAX,
            used_bytes: 0,
        }
    }

    /// Sets the faults from now on.
    pub fn set_faults(&mut self, faults: DiskFaults) {
        self.faults = faults;
    }

    /// True while operations may fail.
    pub fn has_faults(&self) -> bool {
        self.faults.fail() || self.capacity_bytes != u64::MAX
    }

    /// What it has done to the broker so far.
    pub fn sins(&self) -> &DiskSins {
        &self.sins
    }

    /// Leaves room for so many bytes more, until [`SimDisk::free`].
    pub fn set_free_bytes(&mut self, bytes: u64) {
        self.capacity_bytes = self.used_bytes + bytes;
    }

    /// There is room again.
    pub fn free(&mut self) {
        self.capacity_bytes = u64::MAX;
    }

    fn volume(&self) -> VolumeSpace {
        let total_bytes = self.capacity_bytes.min(ENDLESS_BYTES);
        VolumeSpace { total_bytes, free_bytes: total_bytes.saturating_sub(self.used_bytes) }
    }

    /// Executes one operation.
    pub fn execute(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Read { file, at, len, .. } => self.read(&file.path(), *at, *len),
            Op::Write { file, at, bytes, direct, durability } => {
                self.write(&file.path(), *at, bytes, *direct, *durability)
            }
            Op::Sync { file } => self.sync(&file.path()),
            Op::SyncDir { dir } => self.sync_dir(&inside(dir)),
            Op::Allocate { file, len, zeros } => self.allocate(&file.path(), *len, *zeros),
            Op::Truncate { file, len } => {
                let file = self.file_mut(&file.path(), "truncate")?;
                let before = file.len();
                file.truncate(*len);
                self.used_bytes = self.used_bytes + len - before;
                Ok(OpOk::Done)
            }
            Op::Len { file } => Ok(OpOk::Len(self.file_mut(&file.path(), "len")?.len())),
            Op::Remove { file } => {
                self.unlink(&file.path());
                Ok(OpOk::Done)
            }
            Op::MakeDir { dir } => self.make_dirs(&inside(dir)).map(|_| OpOk::Done),
            Op::RenameDir { from, to } => self.rename(from, to),
            Op::RemoveDir { dir } => {
                self.unlink(dir);
                Ok(OpOk::Done)
            }
            Op::List { dir } => {
                let names = self.dir_mut(&inside(dir), "list")?.live.keys().cloned().collect();
                Ok(OpOk::Names(names))
            }
            Op::Volume => Ok(OpOk::Volume(self.volume())),
        }
    }

    /// The process dies: of the writes in flight any sectors are done, of the other operations any; the rest stays as it is.
    pub fn kill(&mut self, in_flight: &[Op]) {
        for op in in_flight {
            match op {
                Op::Write { file, at, bytes, .. } => {
                    let mut prng = self.prng.fork();
                    if let Ok(file) = self.file_mut(&file.path(), "write") {
                        let before = file.len();
                        file.write_some(*at, bytes, &mut prng);
                        let growth = file.len() - before;
                        self.used_bytes += growth;
                        self.sins.torn_writes += 1;
                    }
                }
                Op::Read { .. } | Op::Len { .. } | Op::List { .. } | Op::Volume => {}
                other if self.prng.chance(1, 2) => {
                    let faults = std::mem::take(&mut self.faults);
                    let _ = self.execute(other);
                    self.faults = faults;
                }
                _ => {}
            }
        }
    }

    /// The power goes: [`SimDisk::kill`], then what was not synced is lost, kept or torn.
    pub fn power_cut(&mut self, in_flight: &[Op], mode: CutMode) {
        self.kill(in_flight);
        let mut prng = self.prng.fork();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    let cost = file.power_cut(mode, &mut prng);
                    self.sins.lost_sectors += cost.lost_sectors;
                    self.sins.lost_by_lies += cost.lost_by_lies;
                }
                Node::Dir(dir) => {
                    let kept = match mode {
                        CutMode::KeepAll => dir.pending.len(),
                        CutMode::LoseAll => 0,
                        CutMode::Torn => prng.below(dir.pending.len() as u64 + 1) as usize,
                    };
                    for change in &dir.pending[..kept] {
                        apply(&mut dir.durable, change);
                    }
                    self.sins.lost_entries += (dir.pending.len() - kept) as u64;
                    self.sins.lost_by_lies += dir.lied.saturating_sub(kept) as u64;
                    dir.lied = 0;
                    dir.live = dir.durable.clone();
                    dir.pending.clear();
                }
            }
        }
        self.collect_garbage();
    }

    /// Every file that is there, with its content: for judges that look at the disk themselves.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let content = |(path, inode): (String, u64)| match &self.nodes[&inode] {
            Node::File(file) => Some((path, file.read(0, file.len()))),
            Node::Dir(_) => None,
        };
        self.paths().into_iter().filter_map(content).collect()
    }

    /// Every path that is there, sorted.
    fn paths(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = todo.pop() {
            if let Node::Dir(dir) = &self.nodes[&inode] {
                let below = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                todo.extend(dir.live.iter().map(|(name, &inode)| (below(name), inode)));
            }
            found.push((path, inode));
        }
        found.sort();
        found
    }

    /// Bytes of the file, or of all files below the folder.
    fn bytes_of(&self, inode: u64) -> u64 {
        match &self.nodes[&inode] {
            Node::File(file) => file.len(),
            Node::Dir(dir) => dir.live.values().map(|&below| self.bytes_of(below)).sum(),
        }
    }

    fn read(&mut self, path: &str, at: u64, len: u32) -> OpResult {
        if self.fault(self.faults.read_error_one_in) {
            self.sins.read_errors += 1;
            return Err(error("read", path, 5));
        }
        let file = self.file_mut(path, "read")?;
        Ok(OpOk::Data(Bytes::from(file.read(at, u64::from(len)))))
    }

    fn write(&mut self, path: &str, at: u64, bytes: &Bytes, direct: bool, durability: Durability) -> OpResult {
        let aligned = at.is_multiple_of(DIRECT_BLOCK_BYTES)
            && (bytes.len() as u64).is_multiple_of(DIRECT_BLOCK_BYTES)
            && (bytes.as_ptr() as usize).is_multiple_of(SECTOR_BYTES);
        if direct && !aligned {
            return Err(error("write", path, 22));
        }
        self.ensure_file(path)?;
        let growth = (at + bytes.len() as u64).saturating_sub(self.file_mut(path, "write")?.len());
        self.take_space(growth, "write", path)?;
        let fails = self.fault(self.faults.write_error_one_in);
        let mut prng = self.prng.fork();
        if fails {
            self.sins.write_errors += 1;
            let file = self.file_mut(path, "write")?;
            let due = file.len() + growth;
            file.write_some(at, bytes, &mut prng);
            let missing = due - file.len();
            self.used_bytes -= missing;
            return Err(error("write", path, 5));
        }
        let lies = durability == Durability::Durable && self.fault(self.faults.lie_one_in);
        self.sins.lies += u64::from(lies);
        let file = self.file_mut(path, "write")?;
        file.write(at, bytes);
        match durability {
            Durability::Durable if lies => file.lie(at, bytes.len() as u64),
            Durability::Durable => file.pin(at, bytes.len() as u64),
            Durability::Written => {}
        }
        Ok(OpOk::Done)
    }

    fn sync(&mut self, path: &str) -> OpResult {
        let fails = self.fault(self.faults.sync_error_one_in);
        let lies = self.fault(self.faults.lie_one_in);
        self.sins.sync_errors += u64::from(fails);
        self.sins.lies += u64::from(lies && !fails);
        let file = self.file_mut(path, "sync")?;
        let before = file.len();
        if fails {
            self.sins.dropped_sectors += file.forget_unsynced().lost_sectors;
            let after = self.file_mut(path, "sync")?.len();
            self.used_bytes = self.used_bytes + after - before;
            return Err(error("sync", path, 5));
        }
        if lies {
            file.lie(0, before);
        } else {
            file.sync();
        }
        Ok(OpOk::Done)
    }

    fn sync_dir(&mut self, path: &str) -> OpResult {
        let lies = self.fault(self.faults.lie_one_in);
        self.sins.lies += u64::from(lies);
        let dir = self.dir_mut(path, "syncdir")?;
        if lies {
            dir.lied = dir.pending.len();
        } else {
            dir.sync();
        }
        Ok(OpOk::Done)
    }

    /// A bit of a file rots: one that was written, on stable storage or on its way there. Says which; none if there are none.
    pub fn rot(&mut self) -> Option<String> {
        let mut written = Vec::new();
        for (path, inode) in self.paths() {
            if let Some(Node::File(file)) = self.nodes.get(&inode)
                && file.has_content()
            {
                written.push((path, inode));
            }
        }
        if written.is_empty() {
            return None;
        }
        let (path, inode) = written.swap_remove(self.prng.below(written.len() as u64) as usize);
        let mut prng = self.prng.fork();
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else { unreachable!("found above") };
        let at = file.rot(&mut prng);
        self.sins.rotten_bits += 1;
        Some(format!("{path} at {at}"))
    }

    fn allocate(&mut self, path: &str, len: u64, zeros: bool) -> OpResult {
        self.ensure_file(path)?;
        let growth = len.saturating_sub(self.file_mut(path, "allocate")?.len());
        self.take_space(growth, "allocate", path)?;
        let file = self.file_mut(path, "allocate")?;
        let old = file.len();
        if len > old {
            file.truncate(len);
            if zeros {
                file.write(old, &vec![0; (len - old) as usize]);
            }
        }
        Ok(OpOk::Done)
    }

    /// Creates the file and its folder if they are absent.
    fn ensure_file(&mut self, path: &str) -> Result<(), IoError> {
        let (dir, name) = split(path);
        let parent = self.make_dirs(dir)?;
        let Some(Node::Dir(entries)) = self.nodes.get(&parent) else { unreachable!("make_dirs returns folders") };
        if !entries.live.contains_key(name) {
            let inode = self.add_node(Node::File(SimFile::default()));
            let change = Change::Set { name: name.to_string(), inode };
            self.dir_mut(dir, "create")?.change(change);
        }
        Ok(())
    }

    fn rename(&mut self, from: &Arc<str>, to: &Arc<str>) -> OpResult {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from), split(to));
        assert_eq!(from_dir, to_dir, "folders are renamed in place");
        let dir = self.dir_mut(from_dir, "rename")?;
        if !dir.live.contains_key(from_name) {
            return Err(error("rename", from, 2));
        }
        if dir.live.contains_key(to_name) {
            return Err(error("rename", to, 17));
        }
        dir.change(Change::Rename { from: from_name.to_string(), to: to_name.to_string() });
        Ok(OpOk::Done)
    }

    fn unlink(&mut self, path: &str) {
        let (dir, name) = split(path);
        let gone_bytes = self.find(path).map_or(0, |inode| self.bytes_of(inode));
        if let Ok(dir) = self.dir_mut(dir, "remove")
            && dir.live.contains_key(name)
        {
            dir.change(Change::Unset { name: name.to_string() });
            self.used_bytes -= gone_bytes;
        }
    }

    fn make_dirs(&mut self, path: &str) -> Result<u64, IoError> {
        let mut here = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(Node::Dir(dir)) = self.nodes.get(&here) else { return Err(error("mkdir", path, 20)) };
            here = match dir.live.get(name) {
                Some(&inode) => inode,
                None => {
                    let inode = self.add_node(Node::Dir(SimDir::default()));
                    let Some(Node::Dir(dir)) = self.nodes.get_mut(&here) else { unreachable!("looked up above") };
                    dir.change(Change::Set { name: name.to_string(), inode });
                    inode
                }
            };
        }
        match self.nodes.get(&here) {
            Some(Node::Dir(_)) => Ok(here),
            _ => Err(error("mkdir", path, 20)),
        }
    }

    fn add_node(&mut self, node: Node) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        inode
    }

    fn find(&self, path: &str) -> Option<u64> {
        let mut here = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(Node::Dir(dir)) = self.nodes.get(&here) else { return None };
            here = *dir.live.get(name)?;
        }
        Some(here)
    }

    fn file_mut(&mut self, path: &str, op: &'static str) -> Result<&mut SimFile, IoError> {
        let inode = self.find(path).ok_or_else(|| error(op, path, 2))?;
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(error(op, path, 21)),
        }
    }

    fn dir_mut(&mut self, path: &str, op: &'static str) -> Result<&mut SimDir, IoError> {
        let inode = self.find(path).ok_or_else(|| error(op, path, 2))?;
        match self.nodes.get_mut(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(error(op, path, 20)),
        }
    }

    fn fault(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.prng.chance(1, one_in)
    }

    fn take_space(&mut self, bytes: u64, op: &'static str, path: &str) -> Result<(), IoError> {
        if bytes > self.capacity_bytes.saturating_sub(self.used_bytes) {
            self.sins.refusals += 1;
            return Err(error(op, path, 28));
        }
        self.used_bytes += bytes;
        Ok(())
    }

    /// Forgets nodes that no folder names any more.
    fn collect_garbage(&mut self) {
        let mut reached = std::collections::BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(inode) = todo.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&inode) {
                todo.extend(dir.live.values().filter(|&&below| reached.insert(below)));
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
        self.used_bytes = self.bytes_of(ROOT);
    }
}

fn inside(dir: &Arc<str>) -> String {
    dir.trim_matches('/').to_string()
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn error(op: &'static str, path: &str, errno: i32) -> IoError {
    let message = match errno {
        2 => "no such file or directory",
        5 => "input/output error",
        17 => "file exists",
        20 => "not a directory",
        21 => "is a directory",
        22 => "invalid argument",
        28 => "no space left on device",
        _ => "unknown error",
    };
    IoError { op, path: path.to_string(), errno, message: message.to_string() }
}
