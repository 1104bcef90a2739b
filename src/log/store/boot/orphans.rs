//! Records in a data directory whose boot files are gone: folders of partitions, and journals that took commits. What
//! counts of them is not known then, so the start must not take the directory for a new one. What a first start leaves
//! that ended before its boot file was durable is no record: journals of zeros.
//! Must never touch: what the records are.

use std::sync::Arc;

use coretide_stdx::aligned::BLOCK_BYTES;

use super::scan::partition_of;
use super::{Boot, BootError, names};
use crate::io::{FileId, Op, OpResult, Step};
use crate::store::format::read_header;
use crate::store::jobs::{METADATA_FILE, data};

/// "Not a directory": a file has a name like a partition's folder.
const ENOTDIR: i32 = 20;

/// What is looked into.
#[derive(Debug)]
enum Place {
    Root,
    Folder(String),
    Shard(u16),
    Journal(FileId),
}

/// The search for them.
#[derive(Debug)]
pub struct Orphans {
    /// To be looked into; the last one is what was asked for.
    places: Vec<Place>,
    asked: bool,
    found: Vec<String>,
}

impl Orphans {
    /// A search in the data directory and the folders of these shards.
    pub fn new(shards: impl DoubleEndedIterator<Item = u16>) -> Orphans {
        let places = shards.rev().map(Place::Shard).chain([Place::Root]).collect();
        Orphans { places, asked: false, found: Vec::new() }
    }

    /// Goes on with the result of what was asked for; yields where records are.
    pub fn step(&mut self, results: Vec<OpResult>) -> Result<Step<Vec<String>>, BootError> {
        if std::mem::replace(&mut self.asked, true)
            && let Some(place) = self.places.pop()
        {
            self.look(place, results.into_iter().next())?;
        }
        let list = |dir: Arc<str>| Op::List { dir };
        Ok(match self.places.last() {
            Some(Place::Root) => Step::Do(vec![list(Arc::from(""))]),
            Some(Place::Folder(name)) => Step::Do(vec![list(Arc::from(name.as_str()))]),
            Some(Place::Shard(no)) => Step::Do(vec![list(Boot::shard_dir(*no))]),
            Some(Place::Journal(file)) => {
                Step::Do(vec![Op::Read { file: file.clone(), at: 0, len: BLOCK_BYTES as u32, direct: true }])
            }
            None => Step::Done(std::mem::take(&mut self.found)),
        })
    }

    fn look(&mut self, place: Place, result: Option<OpResult>) -> Result<(), BootError> {
        match place {
            Place::Root => {
                let is_partition = |name: &String| partition_of(name).is_some();
                self.places.extend(names(result)?.into_iter().filter(is_partition).rev().map(Place::Folder));
            }
            Place::Folder(name) => {
                let inside = match result {
                    Some(Err(error)) if error.errno == ENOTDIR => Vec::new(),
                    other => names(other)?,
                };
                if inside.iter().any(|name| name == METADATA_FILE || name.ends_with(".log")) {
                    self.found.push(name);
                }
            }
            Place::Shard(shard) => {
                let number = |name: &String| name.strip_prefix("journal-")?.parse().ok();
                let journal = |no: u32| Place::Journal(FileId::Journal { shard, no });
                self.places.extend(names(result)?.iter().filter_map(number).rev().map(journal));
            }
            Place::Journal(file) => {
                if read_header(&data(result)?).is_some() {
                    self.found.push(file.path());
                }
            }
        }
        Ok(())
    }
}
