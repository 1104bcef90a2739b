//! Colder questions to partitions: ListOffsets, epochs' ends, DeleteRecords, producers. The answers of one question are
//! gathered until the last search on disk and the last commit is over.
//! Must never touch: wire types.

use std::collections::BTreeMap;

use coretide_log::store::{CommitSeq, LogKey, ReadFailure};
use coretide_log::timestamps::TimestampOffset;
use coretide_model::TopicPartition;
use coretide_partition::{DeleteRecordsError, Listed, Partition};
use smallvec::smallvec;

use super::reads::JobOf;
use super::{Logs, Then};
use crate::mail::{Answer, Asker, PartitionAnswer, PartitionAsk, PartitionFailure, PartitionQuestion, PartitionReply};
use crate::shard::Shard;

/// One partition of a question that is not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    gather: u64,
    index: usize,
    tp: TopicPartition,
    /// DeleteRecords: the log start that is being made durable; none when that failed.
    low_watermark: Option<i64>,
    /// A search by time: what was asked, for a search that must begin anew.
    question: PartitionQuestion,
}

impl Asked {
    /// Nobody waits.
    pub const NOTHING: Asked = Asked {
        gather: u64::MAX,
        index: 0,
        tp: TopicPartition { topic_id: coretide_model::TopicId::ZERO, partition: -1 },
        low_watermark: None,
        question: PartitionQuestion::DescribeProducers,
    };

    pub fn fail(&mut self) {
        self.low_watermark = None;
    }

    pub fn has_failed(&self) -> bool {
        self.low_watermark.is_none()
    }
}

/// The questions that are not wholly answered yet.
#[derive(Default)]
pub(super) struct Gathers {
    next: u64,
    by_id: BTreeMap<u64, Gather>,
}

struct Gather {
    asker: Asker,
    answers: Vec<PartitionAnswer>,
    left: usize,
}

/// What a partition says to a question for now.
enum Said {
    Now(Result<PartitionReply, PartitionFailure>),
    AfterCommit(CommitSeq, LogKey, i64),
    AfterSearch(coretide_log::store::TimeRead),
}

impl Shard {
    pub(crate) fn on_partition_asks(&mut self, asker: Asker, asks: Vec<PartitionAsk>) {
        let gather = self.logs.gathers.next;
        self.logs.gathers.next += 1;
        let mut answers = Vec::with_capacity(asks.len());
        let mut later = Vec::new();
        for (index, PartitionAsk { tp, place, ask }) in asks.into_iter().enumerate() {
            let answer = match self.ask_one(tp, &ask) {
                Said::Now(answer) => answer,
                waits => {
                    later.push((Asked { gather, index, tp, low_watermark: None, question: ask }, waits));
                    Err(PartitionFailure::NotHere)
                }
            };
            answers.push(PartitionAnswer { place, answer });
        }
        if later.is_empty() {
            return self.answer(asker, Answer::Partitions(answers));
        }
        self.logs.gathers.by_id.insert(gather, Gather { asker, answers, left: later.len() });
        for (mut asked, waits) in later {
            match waits {
                Said::AfterCommit(commit, key, low_watermark) => {
                    asked.low_watermark = Some(low_watermark);
                    self.logs.push_wait(commit, smallvec![key], Then::Asked(asked));
                }
                Said::AfterSearch(search) => self.start_job(search.into_job(), JobOf::Asked(asked)),
                Said::Now(_) => {}
            }
        }
    }

    fn ask_one(&mut self, tp: TopicPartition, ask: &PartitionQuestion) -> Said {
        let Logs { partitions, store, .. } = &mut self.logs;
        let Some(partition) = partitions.get_mut(&tp) else { return Said::Now(Err(PartitionFailure::NotHere)) };
        Said::Now(match *ask {
            PartitionQuestion::ListOffsets { target, isolation, current_leader_epoch } => {
                match partition.list_offsets(store, target, isolation, current_leader_epoch) {
                    Ok(Listed::Ready(listed)) => Ok(PartitionReply::ListOffsets(listed)),
                    Ok(Listed::Cold(search)) => return Said::AfterSearch(search),
                    Err(error) => Err(error.into()),
                }
            }
            PartitionQuestion::EpochEnd { leader_epoch, current_leader_epoch } => partition
                .offset_for_leader_epoch(leader_epoch, current_leader_epoch)
                .map(PartitionReply::EpochEnd)
                .map_err(PartitionFailure::from),
            PartitionQuestion::DeleteRecords { offset } => match partition.delete_records(store, self.now, offset) {
                Ok((low, commit)) if commit > store.committed() => {
                    return Said::AfterCommit(commit, partition.key(), low);
                }
                Ok((low, _)) => Ok(PartitionReply::DeleteRecords(low)),
                Err(error) => Err(error.into()),
            },
            PartitionQuestion::DescribeProducers => {
                Ok(PartitionReply::DescribeProducers(partition.describe_producers()))
            }
        })
    }

    /// A new log start is durable, or failed to be.
    pub(super) fn on_asked_committed(&mut self, asked: Asked) {
        let offline = PartitionFailure::DeleteRecords(DeleteRecordsError::Offline);
        let answer = asked.low_watermark.map(PartitionReply::DeleteRecords).ok_or(offline);
        self.fill_gather(&asked, answer);
    }

    /// A search on disk is over.
    pub(super) fn on_time_found(&mut self, asked: Asked, found: Result<Option<TimestampOffset>, ReadFailure>) {
        let log_start = |partition: &Partition| self.logs.store.log_start_offset(partition.key());
        let start = self.logs.partitions.get(&asked.tp).map_or(0, log_start);
        let is_deleted = match &found {
            Ok(Some(found)) => found.offset < start,
            Ok(None) => false,
            Err(failure) => *failure == ReadFailure::Gone,
        };
        if is_deleted {
            // What was searched, or found, has been deleted meanwhile: what is left holds the answer. However often: each time
            // there is less that can be deleted before the next search.
            return match self.ask_one(asked.tp, &asked.question) {
                Said::AfterSearch(search) => self.start_job(search.into_job(), JobOf::Asked(asked)),
                Said::Now(answer) => self.fill_gather(&asked, answer),
                Said::AfterCommit(..) => unreachable!("a question about offsets changes nothing"),
            };
        }
        let answer = match (found, self.logs.partitions.get(&asked.tp)) {
            (_, None) => Err(PartitionFailure::NotHere),
            (Ok(found), Some(partition)) => Ok(PartitionReply::ListOffsets(partition.listed(&self.logs.store, found))),
            (Err(error), Some(_)) => Err(PartitionFailure::Storage(error.to_string())),
        };
        self.fill_gather(&asked, answer);
    }

    fn fill_gather(&mut self, asked: &Asked, answer: Result<PartitionReply, PartitionFailure>) {
        let Some(gather) = self.logs.gathers.by_id.get_mut(&asked.gather) else { return };
        gather.answers[asked.index].answer = answer;
        gather.left -= 1;
        if gather.left == 0 {
            let gather = self.logs.gathers.by_id.remove(&asked.gather).expect("just seen");
            self.answer(gather.asker, Answer::Partitions(gather.answers));
        }
    }
}
