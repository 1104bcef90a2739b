//! The data directory as a whole: that it is there, ours alone, of a format we know, and belongs to this node.
//! Must never touch: logs and journals in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use coretide_model::TopicId;
use coretide_model::config::properties::parse_properties;

use crate::error::ServeError;

/// The newest layout of the data directory that this broker reads and the one that it writes.
pub const FORMAT_VERSION: u32 = 1;
/// Kafka's file with the identity of a data directory.
pub(crate) const META_FILE: &str = "meta.properties";
/// The file that whoever uses the directory locks.
pub(crate) const LOCK_FILE: &str = ".lock";
/// How long a locked directory is waited for before it counts as another broker's.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A data directory that nobody else uses while this lives.
#[derive(Debug)]
pub struct DataDir {
    /// Where it is.
    pub path: PathBuf,
    /// The cluster's id, 22 characters.
    pub cluster_id: String,
    _lock: File,
}

impl DataDir {
    /// Opens or makes the directory for the node `node_id`.
    pub fn open(path: &Path, node_id: i32) -> Result<DataDir, ServeError> {
        let refuse = |reason: String| ServeError::DataDir { path: path.to_path_buf(), reason };
        fs::create_dir_all(path).map_err(|error| refuse(in_words(&error)))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE));
        let lock = lock.map_err(|error| refuse(in_words(&error)))?;
        take_lock(&lock, path)?;
        let meta = match fs::read_to_string(path.join(META_FILE)) {
            Ok(text) => Some(Meta::parse(&text).map_err(|reason| refuse(format!("{META_FILE}: {reason}")))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refuse(format!("{META_FILE}: {}", in_words(&error)))),
        };
        let meta = match meta {
            Some(meta) => meta.admit(node_id).map_err(refuse)?,
            None => {
                let meta = Meta::fresh(node_id).map_err(|error| refuse(in_words(&error)))?;
                meta.write(path).map_err(|error| refuse(in_words(&error)))?;
                meta
            }
        };
        Ok(DataDir { path: path.to_path_buf(), cluster_id: meta.cluster_id, _lock: lock })
    }
}

/// Takes the lock, or says whose fault it is that it cannot be had. A killed broker keeps its files open until the kernel has
/// taken down its rings, so a restart right after it waits a little.
pub(crate) fn take_lock(lock: &File, path: &Path) -> Result<(), ServeError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => return Err(ServeError::DataDirLocked { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => {
                return Err(ServeError::DataDir { path: path.to_path_buf(), reason: in_words(&error) });
            }
        }
    }
}

/// The system's error with what to do where that is known.
pub(crate) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => format!("the disk is full ({error}); free some space and start again"),
        io::ErrorKind::ReadOnlyFilesystem => format!("the file system is read-only ({error}); remount it for writing"),
        io::ErrorKind::PermissionDenied => format!("this user may not write there ({error})"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => format!("it is not a folder ({error})"),
        _ => error.to_string(),
    }
}

/// The contents of `meta.properties`, in Kafka's version 1 with one key of our own.
#[derive(Debug)]
pub(crate) struct Meta {
    cluster_id: String,
    node_id: Option<i32>,
    /// The directory's own id (KIP-858).
    directory_id: TopicId,
    format: u32,
}

impl Meta {
    fn fresh(node_id: i32) -> io::Result<Meta> {
        let (cluster_id, directory_id) = (random_id()?.to_string(), random_id()?);
        Ok(Meta { cluster_id, node_id: Some(node_id), directory_id, format: FORMAT_VERSION })
    }

    pub(crate) fn parse(text: &str) -> Result<Meta, String> {
        let properties = parse_properties(text).map_err(|error| error.to_string())?;
        let value =
            |key: &str| properties.iter().rev().find(|one| one.key == key).map(|one| one.value.trim().to_string());
        let needed = |key: &str| value(key).ok_or_else(|| format!("{key} is missing"));
        let version = needed("version")?;
        if version != "1" {
            return Err(format!("version {version} is not known, only 1 is"));
        }
        let format = match value("coretide.format.version") {
            Some(text) => text.parse().map_err(|_| format!("coretide.format.version={text} is no number"))?,
            None => return Err("it was written by another broker; its data cannot be taken over".to_string()),
        };
        let node_id = value("node.id").map(|text| text.parse().map_err(|_| format!("node.id={text} is no number")));
        Ok(Meta {
            cluster_id: needed("cluster.id")?,
            node_id: node_id.transpose()?,
            directory_id: needed("directory.id")?.parse()?,
            format,
        })
    }

    /// Accepts what this broker may work on.
    fn admit(self, node_id: i32) -> Result<Meta, String> {
        if self.format > FORMAT_VERSION {
            return Err(format!(
                "it was written in format {} by a newer version; this one knows formats up to {FORMAT_VERSION}. \
                 Start the newer version again, or choose another directory",
                self.format
            ));
        }
        match self.node_id {
            Some(other) if other != node_id => {
                Err(format!("it belongs to node.id={other}, but this broker is configured as node.id={node_id}"))
            }
            _ => Ok(self),
        }
    }

    /// Writes it so that a crash leaves either nothing or all of it.
    fn write(&self, dir: &Path) -> io::Result<()> {
        let text = format!(
            "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\ncoretide.format.version={}\n",
            self.cluster_id,
            self.node_id.unwrap_or_default(),
            self.directory_id,
            self.format
        );
        let draft = dir.join(format!("{META_FILE}.tmp"));
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(META_FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// A random id whose text does not begin with a dash, which command lines take for a flag (as Kafka makes them).
fn random_id() -> io::Result<TopicId> {
    loop {
        let id = TopicId(random_u128()?);
        if !id.to_string().starts_with('-') {
            return Ok(id);
        }
    }
}

/// 128 bits of the system's randomness.
pub(crate) fn random_u128() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_in_time_is_no_refusal() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        let first = DataDir::open(&path, 1).expect("a new directory");
        let dying = thread::spawn(move || {
            thread::sleep(LOCK_RETRY * 5);
            drop(first);
        });
        DataDir::open(&path, 1).expect("free after a moment");
        dying.join().expect("it only sleeps");
    }

    #[test]
    fn a_directory_keeps_its_identity_and_is_held_by_one_broker() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        let first = DataDir::open(&path, 1).expect("a new directory");
        assert!(matches!(DataDir::open(&path, 1), Err(ServeError::DataDirLocked { .. })));
        let meta = |path: &Path| fs::read_to_string(path.join(META_FILE)).expect("written");
        let (cluster, written) = (first.cluster_id.clone(), meta(&path));
        drop(first);
        let again = DataDir::open(&path, 1).expect("free again");
        assert_eq!((&again.cluster_id, meta(&path)), (&cluster, written));
        drop(again);
        let error = DataDir::open(&path, 2).expect_err("another node").to_string();
        assert!(error.contains("node.id=1") && error.contains("node.id=2"), "{error}");
    }

    #[test]
    fn newer_and_foreign_directories_are_refused_in_words() {
        let refuse = |text: &str| {
            let dir = tempfile::tempdir().expect("a folder");
            fs::write(dir.path().join(META_FILE), text).expect("written");
            DataDir::open(dir.path(), 1).expect_err("must be refused").to_string()
        };
        let own = "version=1\ncluster.id=x\nnode.id=1\ndirectory.id=ASNFZ4mrze_-3LqYdlQyEA\n";
        assert!(refuse(&format!("{own}coretide.format.version=2\n")).contains("format 2"));
        assert!(refuse(own).contains("another broker"));
        assert!(refuse("version=7\n").contains("version 7"));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = DataDir::open(file.path(), 1).expect_err("a file is no folder").to_string();
        assert!(error.contains("not a folder"), "{error}");
    }
}
