//! What waits for the log: records handed out and not yet durable, and what happens when they are. Must never touch: the
//! state of groups.

use crate::command::{Reply, Token};
use crate::error::WriteError;
use crate::record::{OffsetValue, Record};
use std::collections::VecDeque;
use std::sync::Arc;

/// A number that the coordinator gives a write; later writes have larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// Records to append as one batch. Appends must keep the order in which writes were handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub id: WriteId,
    pub records: Arc<[Record]>,
}

/// What a call wants done.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers that may leave now.
    pub replies: Vec<(Token, Reply)>,
    /// Records to append; the coordinator waits to be told of each.
    pub writes: Vec<Write>,
    /// Everything before this offset is repeated after it: the log may begin here.
    pub advance_log_start: Option<i64>,
}

impl Effects {
    pub(crate) fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }
}

/// What follows when a write is durable, or has failed.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing waits: losing the records would be harmless.
    Nothing,
    /// This answer, or for a commit the same with the error in place of every success.
    Answer(Token, Reply),
    /// A leader's assignment: the generation becomes stable.
    Assigned { group: Arc<str>, generation: i32 },
    /// A static member came back under a new id.
    StaticReplaced(Box<StaticReplaced>),
    /// The group and its offsets are gone.
    Deleted { group: Arc<str>, token: Option<Token> },
    /// A part of the live state was repeated, by this dump.
    Dumped(u64),
}

/// What is needed to answer a static member that came back, or to take it back.
#[derive(Debug)]
pub(crate) struct StaticReplaced {
    pub group: Arc<str>,
    pub generation: i32,
    pub token: Token,
    pub new_member_id: Arc<str>,
    /// The member as it was.
    pub old: crate::member::Member,
    pub supports_skip_assignment: bool,
    /// The leader before the change: what clients older than KIP-814 are told, so that none of them assigns.
    pub old_leader: Arc<str>,
}

/// A write that is not durable yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub id: WriteId,
    pub records: Arc<[Record]>,
    pub then: Then,
}

/// All writes that are not durable yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    next_id: u64,
    pending: VecDeque<Pending>,
    /// Records handed out since the last call of [`Writes::take_issued`].
    issued: u64,
}

impl Writes {
    pub fn push(&mut self, fx: &mut Effects, records: Vec<Record>, then: Then) {
        assert!(!records.is_empty(), "a write has records");
        let id = WriteId(self.next_id);
        self.next_id += 1;
        self.issued += records.len() as u64;
        let records: Arc<[Record]> = records.into();
        fx.writes.push(Write { id, records: records.clone() });
        self.pending.push_back(Pending { id, records, then });
    }

    /// Takes out the oldest write, which must be this one: the log commits in order.
    pub fn pop(&mut self, id: WriteId) -> Pending {
        let oldest = self.pending.pop_front().expect("only pending writes commit");
        assert_eq!(oldest.id, id, "writes commit in the order they were handed out");
        oldest
    }

    /// Takes out a write that failed, wherever it stands.
    pub fn remove(&mut self, id: WriteId) -> Pending {
        let place = self.pending.iter().position(|p| p.id == id).expect("only pending writes fail");
        self.pending.remove(place).expect("it was just found")
    }

    /// How many records were handed out since the last call.
    pub fn take_issued(&mut self) -> u64 {
        std::mem::take(&mut self.issued)
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.pending.iter().flat_map(|p| p.records.iter())
    }

    /// The offsets of one group that are on their way, oldest first: topic, partition, value.
    pub fn offsets_of(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, i32, Option<&OffsetValue>)> {
        self.records().filter_map(move |record| match record {
            Record::Offset { group: of, topic, partition, value } if &**of == group => {
                Some((topic, *partition, value.as_ref()))
            }
            _ => None,
        })
    }
}

/// A commit's answer after its write failed: what was going to be a success gets the error.
pub(crate) fn with_error(reply: Reply, error: WriteError) -> Reply {
    match reply {
        Reply::OffsetCommit(mut topics) => {
            for result in topics.iter_mut().flat_map(|(_, partitions)| partitions) {
                result.error = result.error.or(Some(error.for_offsets()));
            }
            Reply::OffsetCommit(topics)
        }
        Reply::OffsetDelete(_) => Reply::OffsetDelete(Err(error.for_offsets())),
        other => unreachable!("{other:?} does not wait for a plain write"),
    }
}
