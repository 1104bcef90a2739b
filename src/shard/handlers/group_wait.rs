//! Requests that group coordinators answer: which partition of `__consumer_offsets` a group belongs to, asking its owner,
//! and the table from the coordinator's errors to Kafka's codes.
//! Must not touch: single requests.

use std::sync::Arc;

use coretide_controller::names::CONSUMER_OFFSETS;
use coretide_coordinator::{Command, GroupError, Reply, refused};
use coretide_model::{ErrorCode, ShardId, TopicPartition};

use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask};
use crate::shard::Shard;

/// Where a group's coordinator is: shard and partition of `__consumer_offsets`. None before that topic is made.
pub(crate) fn coordinator_of(shard: &Shard, group: &str) -> Option<(ShardId, i32)> {
    let topic = shard.image.topic_named(CONSUMER_OFFSETS)?;
    let partition = partition_of(group, topic.partitions.len());
    Some((shard.owner(TopicPartition { topic_id: topic.id, partition }), partition))
}

/// Kafka's place for a group: Java's hash of its id without the sign, modulo the partitions.
pub(crate) fn partition_of(group: &str, partitions: usize) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions.max(1) as i32
}

/// One command for one group's coordinator.
pub(crate) struct GroupAsk {
    pub group: Arc<str>,
    pub command: Command,
}

/// Asks the coordinators of all these groups and answers with what `respond` makes of their replies, in the order of the
/// asks. There is no deadline: a coordinator answers everything, and what it parks has timeouts of its own.
pub(crate) fn ask_groups(
    shard: &mut Shard,
    request: &Request,
    asks: Vec<GroupAsk>,
    respond: impl FnOnce(&Head, Vec<Reply>) -> Handled + Send + 'static,
) -> Handled {
    let mut replies = Vec::with_capacity(asks.len());
    let mut sent = Vec::new();
    for (GroupAsk { group, command }, place) in asks.into_iter().zip(0u32..) {
        replies.push(refused(&command, GroupError::NotCoordinator));
        if let Some(to) = coordinator_of(shard, &group) {
            sent.push((place, to, command));
        }
    }
    wait_for(shard, request, replies, sent, respond)
}

/// Parks the request and sends the asks: place, target, command. `replies` holds what stands where no answer comes.
pub(crate) fn wait_for(
    shard: &mut Shard,
    request: &Request,
    replies: Vec<Reply>,
    asks: Vec<(u32, (ShardId, i32), Command)>,
    respond: impl FnOnce(&Head, Vec<Reply>) -> Handled + Send + 'static,
) -> Handled {
    if asks.is_empty() {
        return respond(&request.head, replies);
    }
    let wait = GroupWait { replies, left: asks.len(), respond: Some(respond) };
    // A group may keep its members waiting for as long as they allow: their frames must not.
    let mut head = request.head;
    shard.let_go_of_frame(&mut head);
    let id = shard.wait(head, None, Box::new(wait));
    for (place, (to, partition), command) in asks {
        shard.ask(to, id, place, Ask::Group { partition, command });
    }
    Ok(Outcome::Later)
}

/// As [`ask_groups`] for a request about one group.
pub(crate) fn ask_group(
    shard: &mut Shard,
    request: &Request,
    group: &Arc<str>,
    command: Command,
    respond: impl FnOnce(&Head, Reply) -> Handled + Send + 'static,
) -> Handled {
    let ask = GroupAsk { group: group.clone(), command };
    ask_groups(shard, request, vec![ask], |head, mut replies| {
        respond(head, replies.pop().expect("one reply for one ask"))
    })
}

struct GroupWait<F> {
    replies: Vec<Reply>,
    left: usize,
    /// None once the request is answered.
    respond: Option<F>,
}

impl<F: FnOnce(&Head, Vec<Reply>) -> Handled + Send> Waiting for GroupWait<F> {
    fn on_answer(&mut self, shard: &mut Shard, head: &Head, place: u32, answer: Answer) -> Handled {
        if let Answer::Group(Reply::Join(reply)) = &answer {
            shard.metrics.members_refused += u64::from(reply.error == Some(GroupError::GroupFull));
        }
        if let (Answer::Group(reply), Some(slot)) = (answer, self.replies.get_mut(place as usize)) {
            *slot = reply;
        }
        self.left -= 1;
        if self.left > 0 {
            return Ok(Outcome::Later);
        }
        match self.respond.take() {
            Some(respond) => respond(head, std::mem::take(&mut self.replies)),
            None => Ok(Outcome::Close),
        }
    }
}

/// Kafka's code for a coordinator's error.
pub(crate) const fn code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::CommitTooLarge => ErrorCode::InvalidCommitOffsetSize,
        GroupError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupNotFound => ErrorCode::GroupIdNotFound,
        GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::GroupTooLarge => ErrorCode::UnknownServerError,
    }
}

/// The number of an error, or of none.
pub(crate) fn code_of(error: Option<GroupError>) -> i16 {
    error.map_or(ErrorCode::None, code) as i16
}

/// The topic's partition exists; a commit for any other is refused.
pub(crate) fn partition_exists(shard: &Shard, topic: &str, partition: i32) -> bool {
    let count = shard.image.topic_named(topic).map_or(0, |topic| topic.partitions.len());
    usize::try_from(partition).is_ok_and(|partition| partition < count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_where_kafka_puts_them() {
        // Java: Math.abs as Kafka does it, of "".hashCode() = 0, "a" = 97, "console-consumer-1" and so on, modulo 50.
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 47);
        assert_eq!(partition_of("hello", 50), 99_162_322 % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // One UTF-16 pair: 0xd83d * 31 + 0xde00.
        assert_eq!(partition_of("😀", 1 << 20), (0xd83d * 31 + 0xde00) % (1 << 20));
    }
}
