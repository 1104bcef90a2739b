//! Sets a log's folder aside: it gets a name that is no partition's, and what memory has of the log is written to it, so
//! that it is whole.
//! Must never touch: a folder that is another topic's.

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicId;

use super::files::{ask_owner, metadata_file, metadata_owner, metadata_text};
use super::{OwnDone, OwnOk, data, first_error};
use crate::io::{Durability, Op, OpResult, Step};

/// What a log's folder is called when it was set aside.
pub fn aside_dir(dir: &str, topic_id: TopicId) -> Arc<str> {
    Arc::from(format!("{dir}.{topic_id}-stray"))
}

/// What memory has of a segment.
#[derive(Clone, Debug)]
pub struct Tail {
    pub segment: i64,
    /// Where the bytes belong in the segment's file, which ends with them.
    pub at: u32,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    Owner,
    Ending,
}

/// The job that does it. Each step may be repeated after a crash: nothing of the log is forgotten before it is over.
#[derive(Debug)]
pub struct AsideJob {
    dir: Arc<str>,
    topic_id: TopicId,
    tails: Vec<Tail>,
    state: State,
}

impl AsideJob {
    /// For the log in this folder; `tails`: of the segments whose files are not complete.
    pub fn new(dir: Arc<str>, topic_id: TopicId, tails: Vec<Tail>) -> AsideJob {
        AsideJob { dir, topic_id, tails, state: State::Begin }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        match self.state {
            State::Begin => {
                self.state = State::Owner;
                Step::Do(vec![ask_owner(&self.dir)])
            }
            State::Owner => match data(results.into_iter().next()) {
                Err(error) if !error.is_not_found() => Step::Done(Err(error)),
                found => {
                    let owner = found.ok().and_then(|bytes| metadata_owner(&bytes));
                    self.state = State::Ending;
                    Step::Do(self.ops(owner == Some(self.topic_id)))
                }
            },
            State::Ending => Step::Done(first_error(&results).map_or(Ok(OwnOk::Done), Err)),
        }
    }

    /// `is_there`: the log's folder has its name still. Otherwise it was moved before a crash, or never made.
    fn ops(&mut self, is_there: bool) -> Vec<Op> {
        let to = aside_dir(&self.dir, self.topic_id);
        let mut ops = Vec::new();
        if is_there {
            ops.push(Op::RenameDir { from: Arc::clone(&self.dir), to: Arc::clone(&to) });
        } else {
            ops.push(Op::MakeDir { dir: Arc::clone(&to) });
            let (file, bytes) = (metadata_file(&to), metadata_text(self.topic_id));
            ops.push(Op::Write { file: file.clone(), at: 0, bytes, direct: false, durability: Durability::Written });
            ops.push(Op::Sync { file });
        }
        for Tail { segment, at, bytes } in self.tails.drain(..) {
            let file = crate::store::segment_file(&to, segment);
            let len = u64::from(at) + bytes.len() as u64;
            ops.push(Op::Allocate { file: file.clone(), len: 0, zeros: false });
            if !bytes.is_empty() {
                let (file, at) = (file.clone(), u64::from(at));
                ops.push(Op::Write { file, at, bytes, direct: false, durability: Durability::Written });
            }
            // Space that was taken ahead lies beyond.
            ops.push(Op::Truncate { file: file.clone(), len });
            ops.push(Op::Sync { file });
        }
        ops.push(Op::SyncDir { dir: to });
        ops.push(Op::SyncDir { dir: Arc::from("") });
        ops
    }
}
