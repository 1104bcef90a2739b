//! Fetch (key 1): the receiving shard owns the wait. It asks the owners of the partitions, adds up what they have, and
//! answers when there is enough, when something is wrong, or when the time is over; until then the owners' one-shot
//! watches tell it when to ask again (F1 to F8).

use std::sync::Arc;

use coretide_model::{ConnId, ErrorCode, ShardId, TopicId, TopicPartition};
use coretide_partition::{Isolation, ReadSpec};
use coretide_wire::fetch::FetchRequest;
use smallvec::SmallVec;

use super::fetch_response::{self, answer, answer_error};
pub(crate) use super::fetch_session::FetchSessions;
use super::fetch_session::{Changes, FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, TopicKey, Wanted};
use super::{Handled, Head, Outcome, Request};
use crate::config::FETCH_BYTES_WHEN_TIGHT;
use crate::mail::{Mail, ReadAnswer, ReadAsk, ReadItem, ReadPart, ReqId};
use crate::pending::Pending;
use crate::shard::Shard;
use crate::timers::Timer;

/// From this version on topics are named by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// How a request stands to a fetch session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionUse {
    None,
    /// One is to be made.
    Create,
    /// The session and the request's epoch in it.
    Incremental {
        id: i32,
        epoch: i32,
    },
}

/// One partition of a request, in the order of reading.
pub(crate) struct Part {
    pub topic: TopicKey,
    pub index: i32,
    pub wanted: Wanted,
    /// Its number in the session.
    pub order: u64,
    /// Where it is, or why it is nowhere.
    pub tp: Result<TopicPartition, ErrorCode>,
    /// What was last read. On its own, so that a partition that is not read costs little more than its bytes in the request.
    pub read: Option<Box<ReadPart>>,
}

/// A Fetch request in progress.
pub(crate) struct FetchWait {
    pub session: SessionUse,
    pub parts: Vec<Part>,
    pub max_bytes: u32,
    isolation: Isolation,
    min_bytes: usize,
    deadline_us: u64,
    /// Owners that have not answered in this round, and what they may bring.
    reading: u32,
    promised_bytes: u64,
    /// Owners that watch.
    watching: SmallVec<[ShardId; 2]>,
    parked: bool,
}

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked = FetchRequest::decode(&mut request.reader(), request.head.version)?;
    let isolation = match asked.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let limit = shard.image.broker().network.fetch_max_bytes.max(0);
    let fair_bytes = i32::try_from(shard.memory.answer_bytes()).unwrap_or(i32::MAX);
    let mut max_bytes = asked.max_bytes.clamp(0, limit.min(fair_bytes)) as u32;
    if shard.memory.is_tight() {
        max_bytes = max_bytes.min(FETCH_BYTES_WHEN_TIGHT);
    }
    let min_bytes = asked.min_bytes.max(0).min(max_bytes as i32) as usize;
    let max_wait_ms = u64::try_from(asked.max_wait_ms).unwrap_or(0);
    let (session, parts) = match resolve(shard, &asked) {
        Ok(resolved) => resolved,
        Err(error) => return answer_error(&request.head, error),
    };
    let mut wait = FetchWait {
        session,
        parts,
        max_bytes,
        isolation,
        min_bytes,
        deadline_us: shard.now.after_ms(max_wait_ms),
        reading: 0,
        promised_bytes: 0,
        watching: SmallVec::new(),
        parked: false,
    };
    if wait.parts.iter().all(|part| part.tp.is_err()) {
        return answer(shard, &request.head, &mut wait);
    }
    let id = shard.pending.insert(request.head, None, Pending::Fetch(Box::new(wait)));
    shard.note_waiting(&request.head, id);
    if let Some((_, Pending::Fetch(wait))) = shard.pending.take(id) {
        let wait = read(shard, id, request.head.conn, wait);
        shard.pending.put_back(id, Pending::Fetch(wait));
    }
    Ok(Outcome::Later)
}

/// The partitions that the request and its session together want.
fn resolve(shard: &mut Shard, asked: &FetchRequest) -> Result<(SessionUse, Vec<Part>), ErrorCode> {
    let by_ids = asked.version >= TOPIC_IDS_FROM;
    let key = |name: &str, id: TopicId| if by_ids { TopicKey::Id(id) } else { TopicKey::Name(Arc::from(name)) };
    let keys: Vec<TopicKey> = asked.topics.iter().map(|topic| key(&topic.name, topic.topic_id)).collect();
    let named = asked.partitions.iter().map(|part| {
        let wanted = Wanted {
            current_leader_epoch: part.current_leader_epoch,
            fetch_offset: part.fetch_offset,
            last_fetched_epoch: part.last_fetched_epoch,
            max_bytes: part.max_bytes,
        };
        (keys[part.topic_place as usize].clone(), part.index, wanted)
    });
    let mut found = Found { shard_image: &shard.image, last: None };
    if asked.session_epoch == INITIAL_EPOCH || asked.session_epoch == FINAL_EPOCH {
        shard.fetch_sessions.close(asked.session_id);
        let parts: Vec<Part> = named.map(|(topic, index, wanted)| found.part(topic, index, wanted, 0)).collect();
        let create = asked.session_epoch == INITIAL_EPOCH && !parts.is_empty();
        return Ok((if create { SessionUse::Create } else { SessionUse::None }, parts));
    }
    if asked.session_id == NO_SESSION {
        return Err(ErrorCode::FetchSessionIdNotFound);
    }
    let forgotten = asked.forgotten.iter().flat_map(|topic| {
        let key = key(&topic.name, topic.topic_id);
        topic.partitions.iter().map(move |index| (key.clone(), *index))
    });
    let changes = Changes { wanted: named.collect(), forgotten: forgotten.collect() };
    let (id, epoch) = (asked.session_id, asked.session_epoch);
    let session = shard.fetch_sessions.update(shard.now.mono_us, (id, epoch), by_ids, changes)?;
    let Some(session) = session else { return Ok((SessionUse::None, Vec::new())) };
    let parts = session.partitions().map(|(order, r)| found.part(r.topic.clone(), r.index, r.wanted, order)).collect();
    Ok((SessionUse::Incremental { id, epoch }, parts))
}

/// A topic's id and how many partitions it has, or why it is none.
type TopicFound = Result<(TopicId, usize), ErrorCode>;

/// Looks topics up, those of neighbours once.
struct Found<'a> {
    shard_image: &'a coretide_controller::Image,
    last: Option<(TopicKey, TopicFound)>,
}

impl Found<'_> {
    fn part(&mut self, topic: TopicKey, index: i32, wanted: Wanted, order: u64) -> Part {
        let tp = match self.topic(&topic) {
            Ok((topic_id, count)) if usize::try_from(index).is_ok_and(|index| index < count) => {
                Ok(TopicPartition { topic_id, partition: index })
            }
            Ok(_) => Err(ErrorCode::UnknownTopicOrPartition),
            Err(error) => Err(error),
        };
        Part { topic, index, wanted, order, tp, read: None }
    }

    fn topic(&mut self, key: &TopicKey) -> TopicFound {
        if let Some((last, found)) = &self.last
            && last == key
        {
            return *found;
        }
        let found = match key {
            TopicKey::Name(name) => self.shard_image.topic_named(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicKey::Id(id) => self.shard_image.topic(*id).ok_or(ErrorCode::UnknownTopicId),
        };
        let found = found.map(|topic| (topic.id, topic.partitions.len()));
        self.last = Some((key.clone(), found));
        found
    }
}

/// A request of a few bytes per partition must not grow much in memory.
const _: () = assert!(size_of::<Part>() <= 128);

/// Asks all owners, in a new round.
fn read(shard: &mut Shard, id: ReqId, conn: ConnId, mut wait: Box<FetchWait>) -> Box<FetchWait> {
    let mut asks: SmallVec<[(ShardId, ReadAsk); 2]> = SmallVec::new();
    let watch_below_bytes = if wait.deadline_us > shard.now.mono_us { wait.min_bytes as u32 } else { 0 };
    let mut wanted_bytes = 0;
    for (place, part) in wait.parts.iter_mut().enumerate() {
        part.read = None;
        let Ok(tp) = part.tp else { continue };
        let spec = ReadSpec {
            fetch_offset: part.wanted.fetch_offset,
            isolation: wait.isolation,
            max_bytes: u32::try_from(part.wanted.max_bytes).unwrap_or(0).min(wait.max_bytes),
            at_least_one: true,
            current_leader_epoch: part.wanted.current_leader_epoch,
            last_fetched_epoch: part.wanted.last_fetched_epoch,
        };
        wanted_bytes += u64::from(spec.max_bytes);
        let item = ReadItem { tp, place: place as u32, spec };
        let owner = shard.owner(tp);
        match asks.iter_mut().find(|(to, _)| *to == owner) {
            Some((_, ask)) => ask.items.push(item),
            None => {
                let (isolation, max_bytes) = (wait.isolation, wait.max_bytes);
                asks.push((owner, ReadAsk { isolation, max_bytes, watch_below_bytes, items: vec![item] }));
            }
        }
    }
    wait.reading = asks.len() as u32;
    wait.promised_bytes = wanted_bytes.min(u64::from(wait.max_bytes));
    shard.promise(conn, wait.promised_bytes);
    wait.watching.clear();
    for (to, ask) in asks {
        shard.send(to, Mail::Read { id, ask: Box::new(ask) });
    }
    wait
}

/// An owner has answered.
pub(crate) fn on_read_done(shard: &mut Shard, from: ShardId, id: ReqId, done: ReadAnswer) {
    let Some((head, Pending::Fetch(mut wait))) = shard.pending.take(id) else {
        // The request is over; its watches must not stay behind.
        if done.watching {
            shard.send(from, Mail::Unwatch { id });
        }
        return;
    };
    for part in done.parts {
        let place = part.place as usize;
        wait.parts[place].read = Some(Box::new(part));
    }
    if done.watching {
        wait.watching.push(from);
    }
    wait.reading -= 1;
    go_on(shard, id, head, wait);
}

/// After a whole round: answers, or waits for a watch or the deadline.
fn go_on(shard: &mut Shard, id: ReqId, head: Head, mut wait: Box<FetchWait>) {
    if wait.reading > 0 {
        return shard.pending.put_back(id, Pending::Fetch(wait));
    }
    shard.keep_promise(head.conn, std::mem::take(&mut wait.promised_bytes));
    let has_failed = |part: &Part| match &part.read {
        Some(read) => read.error != ErrorCode::None || read.diverging.is_some(),
        None => true,
    };
    let found = fetch_response::bytes_within_budget(&wait) as usize;
    let enough = found >= wait.min_bytes || wait.deadline_us <= shard.now.mono_us;
    if enough || wait.parts.iter().any(has_failed) || !shard.is_serving() {
        return conclude(shard, id, &head, wait);
    }
    if !std::mem::replace(&mut wait.parked, true) {
        shard.metrics.fetches_parked += 1;
        if shard.pending.set_deadline(id, wait.deadline_us) {
            shard.timers.insert(wait.deadline_us, Timer::Request(id));
        }
    }
    shard.pending.put_back(id, Pending::Fetch(wait));
}

fn conclude(shard: &mut Shard, id: ReqId, head: &Head, mut wait: Box<FetchWait>) {
    unwatch(shard, id, &wait);
    let handled = answer(shard, head, &mut wait);
    shard.end_wait(id);
    shard.finish(head, handled);
}

fn unwatch(shard: &mut Shard, id: ReqId, wait: &FetchWait) {
    for to in &wait.watching {
        shard.send(*to, Mail::Unwatch { id });
    }
}

/// Something that is watched has moved: everything is read again. While a round is under way the owners have still to
/// answer or answer from after the move, so nothing is missed.
pub(crate) fn on_woken(shard: &mut Shard, id: ReqId) {
    match shard.pending.get_mut(id) {
        Some((_, Pending::Fetch(wait))) if wait.reading == 0 => {}
        _ => return,
    }
    if let Some((head, Pending::Fetch(wait))) = shard.pending.take(id) {
        let wait = read(shard, id, head.conn, wait);
        shard.pending.put_back(id, Pending::Fetch(wait));
    }
}

/// Memory is spent: answers the requests that wait for more data, those that cost most first, until so many bytes are
/// given back. Their clients ask again.
pub(crate) fn end_polls(shard: &mut Shard, excess_bytes: u64) {
    let is_parked = |pending: &Pending| matches!(pending, Pending::Fetch(wait) if wait.parked && wait.reading == 0);
    let mut parked: Vec<(u64, ReqId)> = Vec::new();
    for id in shard.pending.select(|_, _, pending| is_parked(pending)) {
        parked.extend(shard.pending.get_mut(id).map(|(head, _)| (head.cost_bytes(), id)));
    }
    parked.sort_unstable_by(|a, b| b.cmp(a));
    let mut left_bytes = excess_bytes;
    for (cost_bytes, id) in parked {
        if left_bytes == 0 {
            return;
        }
        left_bytes = left_bytes.saturating_sub(cost_bytes);
        if let Some((head, Pending::Fetch(wait))) = shard.pending.take(id) {
            shard.metrics.fetches_cut_short += 1;
            conclude(shard, id, &head, wait);
        }
    }
}

/// The time is over. A round that is under way ends first.
pub(crate) fn on_deadline(shard: &mut Shard, id: ReqId, head: &Head, wait: &mut FetchWait) -> Handled {
    wait.deadline_us = 0;
    if wait.reading > 0 {
        return Ok(Outcome::Later);
    }
    unwatch(shard, id, wait);
    answer(shard, head, wait)
}

/// Its connection is gone.
pub(crate) fn on_abandoned(shard: &mut Shard, id: ReqId, conn: ConnId, wait: &FetchWait) {
    shard.keep_promise(conn, wait.promised_bytes);
    unwatch(shard, id, wait);
}
