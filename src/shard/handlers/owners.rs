//! Requests that ask several partitions the same kind of question: found here, asked of their owners, gathered in the
//! request's order.
//! Must never touch: what is asked.

use coretide_model::{ErrorCode, ShardId, TopicPartition};

use super::{Handled, Head, Outcome, Request, Waiting};
use crate::errors;
use crate::mail::{Answer, Ask, PartitionAsk, PartitionQuestion, PartitionReply};
use crate::shard::Shard;

/// What a partition says, or the code of why it says nothing.
pub(crate) type Said = Result<PartitionReply, ErrorCode>;

/// One question in the request's order, or why it need not be asked.
pub(crate) type Question = Result<(TopicPartition, PartitionQuestion), ErrorCode>;

/// Makes the response from the request and the answers, which stand in the order of the questions.
pub(crate) type Encode<R> = fn(&Head, R, Vec<Said>) -> Handled;

/// The partition that a client means.
pub(crate) fn find(shard: &Shard, topic: &str, index: i32) -> Result<TopicPartition, ErrorCode> {
    let found = shard.image.topic_named(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    match usize::try_from(index) {
        Ok(place) if place < found.partitions.len() => Ok(TopicPartition { topic_id: found.id, partition: index }),
        _ => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

/// Asks the owners and answers with `encode` when all have answered; `timeout_ms` above 0 is waited for at most.
pub(crate) fn ask<R: Send + Default + 'static>(
    shard: &mut Shard,
    request: &Request,
    timeout_ms: i32,
    asked: R,
    questions: Vec<Question>,
    encode: Encode<R>,
) -> Handled {
    let mut said: Vec<Option<Said>> = Vec::with_capacity(questions.len());
    let mut asks: Vec<(ShardId, Vec<PartitionAsk>)> = Vec::new();
    for (place, question) in questions.into_iter().enumerate() {
        said.push(match question {
            Err(error) => Some(Err(error)),
            Ok((tp, ask)) => {
                let owner = shard.owner(tp);
                let ask = PartitionAsk { tp, place: place as u32, ask };
                match asks.iter_mut().find(|(to, _)| *to == owner) {
                    Some((_, asks)) => asks.push(ask),
                    None => asks.push((owner, vec![ask])),
                }
                None
            }
        });
    }
    let mut wait = OwnersWait { asked, said, left: asks.len(), encode };
    if asks.is_empty() {
        return wait.finish(&request.head);
    }
    let timeout = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0);
    let deadline_us = timeout.map(|ms| shard.now.after_ms(ms));
    let id = shard.wait(request.head, deadline_us, Box::new(wait));
    for (to, asks) in asks {
        shard.ask(to, id, 0, Ask::Partitions(asks));
    }
    Ok(Outcome::Later)
}

struct OwnersWait<R> {
    asked: R,
    /// By place in the request.
    said: Vec<Option<Said>>,
    /// Owners that have not answered.
    left: usize,
    encode: Encode<R>,
}

impl<R: Default> OwnersWait<R> {
    fn finish(&mut self, head: &Head) -> Handled {
        let said = self.said.drain(..).map(|said| said.unwrap_or(Err(ErrorCode::RequestTimedOut)));
        (self.encode)(head, std::mem::take(&mut self.asked), said.collect())
    }
}

impl<R: Send + Default> Waiting for OwnersWait<R> {
    fn on_answer(&mut self, _shard: &mut Shard, head: &Head, _place: u32, answer: Answer) -> Handled {
        if let Answer::Partitions(answers) = answer {
            for answer in answers {
                let said = answer.answer.map_err(|failure| errors::partition(&failure));
                self.said[answer.place as usize] = Some(said);
            }
        }
        self.left -= 1;
        if self.left > 0 { Ok(Outcome::Later) } else { self.finish(head) }
    }

    fn on_deadline(&mut self, _shard: &mut Shard, head: &Head) -> Handled {
        self.finish(head)
    }
}
