//! Produce (key 0): batches are checked here, on the shard that received them, and appended by the shards that own the
//! partitions: one letter to each owner, in the order of arrival, so that what one connection sends for one partition is
//! appended in its order (I5).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use coretide_controller::TopicImage;
use coretide_log::batch::{BatchError, ProduceRules, VerifiedBatch, peek_header};
use coretide_log::codec::Codec;
use coretide_log::store::StoreJob;
use coretide_model::{ErrorCode, ShardId, TopicPartition};
use coretide_wire::TopicRef;
use coretide_wire::produce::{ProduceOutcome, ProduceOutline, ProducePartition, ProducePlace, ProduceRequestView};
use smallvec::SmallVec;

use super::{Handled, Head, Outcome, Request};
use crate::config::{PRODUCE_SCAN_US, UNPACK_AT_ONCE_BYTES};
use crate::errors;
use crate::event::Response;
use crate::logs::JobOf;
use crate::mail::{AppendItem, AppendResult, Mail, ReqId};
use crate::pending::Pending;
use crate::placement;
use crate::shard::Shard;
use crate::timers::Timer;

/// The first version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// Kafka's own tools may write to internal topics under this name.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// A Produce request whose batches are on their way.
pub(crate) struct ProduceWait {
    frame: Bytes,
    outline: ProduceOutline,
    acks: i16,
    expires_us: u64,
    /// Owners that have not answered.
    left: u32,
    /// By place in the request.
    outcomes: SmallVec<[Appended; 1]>,
    /// Batches that are still being checked: nothing of the request is appended before.
    unchecked: Option<Box<Unchecked>>,
}

/// What of a request waits for batches that unpack to much.
struct Unchecked {
    /// What was checked already.
    letters: Letters,
    /// What was not, in its order.
    rest: VecDeque<Unpack>,
}

struct Unpack {
    tp: TopicPartition,
    place: u32,
    records: Bytes,
    rules: ProduceRules,
}

/// Checks that the background does, one at a time: each may take as much memory as one batch may unpack to.
#[derive(Default)]
pub(crate) struct Unpacking {
    queue: VecDeque<ReqId>,
    busy: bool,
}

/// A partition's batch of which nothing bad is known.
enum Checked {
    Whole(TopicPartition, VerifiedBatch),
    /// It takes longer than this thread has.
    Later(TopicPartition, Bytes, ProduceRules),
}

/// What became of one partition of a request.
enum Appended {
    Waiting,
    At { base_offset: i64, log_append_time_ms: i64, log_start_offset: i64 },
    Refused(Box<Refusal>),
}

struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, Option<String>)>,
}

impl Appended {
    fn refused(code: ErrorCode, message: Option<String>) -> Appended {
        Appended::Refused(Box::new(Refusal { code, message, record_errors: Vec::new() }))
    }

    fn invalid(error: &BatchError) -> Appended {
        let told = error.record_errors().iter().map(|record| (record.index, Some(record.reason.to_string())));
        Appended::Refused(Box::new(Refusal {
            code: errors::batch(error),
            message: Some(error.to_string()),
            record_errors: told.collect(),
        }))
    }
}

/// Timeouts are looked for now and then, while somebody waits.
#[derive(Default)]
pub(crate) struct Scan {
    armed: bool,
}

/// The letters of one request, one for each owner.
type Letters = SmallVec<[(ShardId, SmallVec<[AppendItem; 1]>); 2]>;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let view = ProduceRequestView::decode(&mut request.reader(), request.head.version)?;
    let mut outcomes: SmallVec<[Appended; 1]> = SmallVec::with_capacity(view.partition_count);
    let mut letters = Letters::new();
    let mut rest = VecDeque::new();
    let mut budget_bytes = UNPACK_AT_ONCE_BYTES;
    let mut topic: Option<(usize, Result<Arc<TopicImage>, ErrorCode>)> = None;
    for part in view.partitions() {
        if topic.as_ref().is_none_or(|(place, _)| *place != part.topic_place) {
            topic = Some((part.topic_place, find_topic(shard, request, &part.topic)));
        }
        let found = topic.as_ref().map_or(Err(ErrorCode::UnknownTopicOrPartition), |(_, found)| found.clone());
        let place = outcomes.len() as u32;
        outcomes.push(match check(shard, &view, part, &found, &mut budget_bytes) {
            Ok(Checked::Whole(tp, batch)) => {
                add_letter(&mut letters, shard.owner(tp), AppendItem { tp, place, batch });
                Appended::Waiting
            }
            Ok(Checked::Later(tp, records, rules)) => {
                rest.push_back(Unpack { tp, place, records, rules });
                Appended::Waiting
            }
            Err(refused) => {
                shard.metrics.batches_refused += 1;
                refused
            }
        });
    }
    let expires_us = shard.now.after_ms(u64::try_from(view.timeout_ms).unwrap_or(0));
    let (left, acks) = (letters.len() as u32, view.acks);
    let (frame, outline) = (request.frame.clone(), view.outline());
    let mut wait = ProduceWait { frame, outline, acks, expires_us, left, outcomes, unchecked: None };
    if !rest.is_empty() {
        wait.unchecked = Some(Box::new(Unchecked { letters, rest }));
        return Ok(unpack_later(shard, &request.head, wait));
    }
    if left == 0 && acks != 0 {
        return encode(&request.head, &wait);
    }
    if left == 0 {
        return Ok(if wait.has_failed() { Outcome::Close } else { Outcome::Nothing });
    }
    let id = shard.pending.insert(request.head, None, Pending::Produce(wait));
    for (to, items) in letters {
        shard.send(to, Mail::Append { id, items });
    }
    arm_scan(shard);
    if acks == 0 {
        return Ok(Outcome::Silent);
    }
    shard.note_committing(&request.head, id);
    Ok(Outcome::Later)
}

fn add_letter(letters: &mut Letters, owner: ShardId, item: AppendItem) {
    match letters.iter_mut().find(|(to, _)| *to == owner) {
        Some((_, items)) => items.push(item),
        None => letters.push((owner, SmallVec::from_buf([item]))),
    }
}

/// Parks a request with batches for the background. What follows it on its connection waits, so that the order stays.
fn unpack_later(shard: &mut Shard, head: &Head, wait: ProduceWait) -> Outcome {
    let acks = wait.acks;
    let id = shard.pending.insert(*head, None, Pending::Produce(wait));
    if let Some(session) = shard.sessions.get_mut(&head.conn) {
        session.hold_up();
    }
    shard.unpacking.queue.push_back(id);
    unpack_next(shard);
    arm_scan(shard);
    if acks == 0 {
        return Outcome::Silent;
    }
    shard.note_waiting(head, id);
    Outcome::Later
}

/// Has the background check the next batch, unless it is at one.
fn unpack_next(shard: &mut Shard) {
    while !shard.unpacking.busy
        && let Some(id) = shard.unpacking.queue.pop_front()
    {
        // The request may be over: its connection is gone, or it has waited too long.
        let Some((_, Pending::Produce(wait))) = shard.pending.get_mut(id) else { continue };
        let Some(next) = wait.unchecked.as_ref().and_then(|unchecked| unchecked.rest.front()) else { continue };
        let job = StoreJob::verify(next.records.clone(), next.rules);
        shard.unpacking.busy = true;
        shard.start_job(job, JobOf::Unpacked(id));
    }
}

/// The background has checked a batch. With the last one of its request all of it is appended.
pub(crate) fn on_unpacked(shard: &mut Shard, id: ReqId, result: Result<VerifiedBatch, BatchError>) {
    shard.unpacking.busy = false;
    take_unpacked(shard, id, result);
    unpack_next(shard);
}

fn take_unpacked(shard: &mut Shard, id: ReqId, result: Result<VerifiedBatch, BatchError>) {
    let shards = shard.config.shards;
    let Some((head, Pending::Produce(wait))) = shard.pending.get_mut(id) else { return };
    let head = *head;
    let Some(unchecked) = wait.unchecked.as_mut() else { return };
    let Some(Unpack { tp, place, .. }) = unchecked.rest.pop_front() else { return };
    match result {
        Ok(batch) => {
            add_letter(&mut unchecked.letters, placement::owner(tp, shards), AppendItem { tp, place, batch });
        }
        Err(error) => {
            shard.metrics.batches_refused += 1;
            wait.outcomes[place as usize] = Appended::invalid(&error);
        }
    }
    if !unchecked.rest.is_empty() {
        return shard.unpacking.queue.push_front(id);
    }
    let letters = std::mem::take(&mut unchecked.letters);
    wait.unchecked = None;
    wait.left = letters.len() as u32;
    if letters.is_empty() {
        return conclude(shard, id);
    }
    if wait.acks != 0 {
        shard.note_committing(&head, id);
    }
    for (to, items) in letters {
        shard.send(to, Mail::Append { id, items });
    }
}

/// The topic that a request names, if clients may write to it (P7).
fn find_topic(shard: &Shard, request: &Request, topic: &TopicRef<'_>) -> Result<Arc<TopicImage>, ErrorCode> {
    let found = match topic {
        TopicRef::Name(name) => shard.image.topic_named(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicRef::Id(id) => shard.image.topic(*id).ok_or(ErrorCode::UnknownTopicId)?,
    };
    if found.internal && request.client_id() != Some(ADMIN_CLIENT_ID) {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(found.clone())
}

/// Everything that can be said about a partition's batch without its owner (P1 to P7).
fn check(
    shard: &mut Shard,
    view: &ProduceRequestView<'_>,
    part: ProducePartition<'_>,
    topic: &Result<Arc<TopicImage>, ErrorCode>,
    budget_bytes: &mut u64,
) -> Result<Checked, Appended> {
    if !(-1..=1).contains(&view.acks) {
        return Err(Appended::refused(ErrorCode::InvalidRequiredAcks, None));
    }
    let topic = topic.as_ref().map_err(|code| Appended::refused(*code, None))?;
    if usize::try_from(part.index).map_or(true, |index| index >= topic.partitions.len()) {
        return Err(Appended::refused(ErrorCode::UnknownTopicOrPartition, None));
    }
    if view.acks == -1 && topic.config.min_insync_replicas > 1 {
        let message = format!("min.insync.replicas is {}, and there is one replica", topic.config.min_insync_replicas);
        return Err(Appended::refused(ErrorCode::NotEnoughReplicas, Some(message)));
    }
    let records = part.records.unwrap_or_default();
    if view.version < ZSTD_FROM && peek_header(&records).is_ok_and(|header| header.codec() == Ok(Codec::Zstd)) {
        let message = "zstd needs Produce version 7 or later".to_string();
        return Err(Appended::refused(ErrorCode::UnsupportedCompressionType, Some(message)));
    }
    let rules = ProduceRules::from_config(&topic.config, shard.now.wall_ms);
    let tp = TopicPartition { topic_id: topic.id, partition: part.index };
    let verified = shard.verifier.verify_within(&records, &rules, budget_bytes);
    Ok(match verified.map_err(|error| Appended::invalid(&error))? {
        Some(batch) => Checked::Whole(tp, batch),
        None => Checked::Later(tp, records, rules),
    })
}

/// An owner has answered.
pub(crate) fn on_appended(shard: &mut Shard, id: ReqId, results: SmallVec<[AppendResult; 1]>) {
    let Some((_, Pending::Produce(wait))) = shard.pending.get_mut(id) else { return };
    for AppendResult { place, result } in results {
        wait.outcomes[place as usize] = match result {
            Ok(appended) => Appended::At {
                base_offset: appended.base_offset,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: appended.log_start_offset,
            },
            Err(failure) => Appended::refused(errors::append(&failure), Some(failure.to_string())),
        };
    }
    wait.left -= 1;
    if wait.left == 0 {
        conclude(shard, id);
    }
}

/// Answers with what is known.
fn conclude(shard: &mut Shard, id: ReqId) {
    let Some((head, Pending::Produce(wait))) = shard.pending.take(id) else { return };
    shard.end_wait(id);
    if wait.acks == 0 {
        shard.finish_silent(&head, wait.has_failed());
    } else {
        let handled = encode(&head, &wait);
        shard.finish(&head, handled);
    }
}

fn arm_scan(shard: &mut Shard) {
    if !std::mem::replace(&mut shard.produce_scan.armed, true) {
        shard.timers.insert(shard.now.mono_us + PRODUCE_SCAN_US, Timer::ProduceScan);
    }
}

/// Answers requests that have waited longer than they wanted with what is known, and the rest of them with
/// REQUEST_TIMED_OUT (P6).
pub(crate) fn expire(shard: &mut Shard) {
    shard.produce_scan.armed = false;
    let now_us = shard.now.mono_us;
    let is_produce = |pending: &Pending| matches!(pending, Pending::Produce(_));
    let is_due = |pending: &Pending| matches!(pending, Pending::Produce(w) if w.acks != 0 && w.expires_us <= now_us);
    for id in shard.pending.select(|_, _, pending| is_due(pending)) {
        if let Some((_, Pending::Produce(wait))) = shard.pending.get_mut(id) {
            for outcome in wait.outcomes.iter_mut().filter(|outcome| matches!(outcome, Appended::Waiting)) {
                *outcome = Appended::refused(ErrorCode::RequestTimedOut, None);
            }
        }
        conclude(shard, id);
    }
    if !shard.pending.select(|_, _, pending| is_produce(pending)).is_empty() {
        arm_scan(shard);
    }
}

impl ProduceWait {
    fn has_failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Appended::Refused(_)))
    }
}

fn encode(head: &Head, wait: &ProduceWait) -> Handled {
    let mut encoder = wait.outline.response(head.correlation_id)?;
    let mut outcomes = wait.outcomes.iter();
    for place in wait.outline.places(&wait.frame) {
        match place {
            ProducePlace::Topic(topic, partitions) => encoder.topic(topic, partitions)?,
            ProducePlace::Partition(index) => {
                let outcome = outcomes.next().expect("the request was walked in the same order");
                encoder.partition(&to_wire(index, outcome))?;
            }
        }
    }
    Ok(Outcome::Answer(Response::from(encoder.finish(0, &[])?)))
}

fn to_wire(index: i32, outcome: &Appended) -> ProduceOutcome<'_> {
    let mut wire = ProduceOutcome {
        index,
        error_code: ErrorCode::None.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: &[],
        error_message: None,
        current_leader: None,
    };
    match outcome {
        Appended::At { base_offset, log_append_time_ms, log_start_offset } => {
            wire.base_offset = *base_offset;
            wire.log_append_time_ms = *log_append_time_ms;
            wire.log_start_offset = *log_start_offset;
        }
        Appended::Refused(refusal) => {
            wire.error_code = refusal.code.code();
            wire.record_errors = &refusal.record_errors;
            wire.error_message = refusal.message.as_deref();
        }
        Appended::Waiting => wire.error_code = ErrorCode::RequestTimedOut.code(),
    }
    wire
}
