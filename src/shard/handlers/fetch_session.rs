//! Fetch sessions (KIP-227): what a consumer wants, remembered between its requests, so that it names only what changes
//! and gets only what changed. A session belongs to the shard that made it; on another one its id is unknown, and the
//! client begins anew.
//! Must never touch: partitions' data, wire bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use coretide_model::{ErrorCode, TopicId};
use coretide_stdx::prng::Prng;

/// A session that was used within this time is not pushed out by one that is not larger (Kafka's two minutes).
const EVICTION_US: u64 = 120_000_000;
/// Partitions that all sessions of one shard remember; beyond it no session is made.
const PARTITIONS_MAX: usize = 1_000_000;

/// The id of no session.
pub(crate) const NO_SESSION: i32 = 0;
/// The request that begins a session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// A request without a session, or the end of one.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// A topic as the client names it: by name before version 13, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// What a client wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub max_bytes: i32,
}

/// One partition of a session.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub topic: TopicKey,
    pub index: i32,
    pub wanted: Wanted,
    /// What the client was last told; -1 when it has to be told again.
    high_watermark: i64,
    log_start_offset: i64,
}

/// What a response says about a partition, as far as it decides whether it has to be said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub error: ErrorCode,
    pub has_records: bool,
    pub diverging: bool,
    pub high_watermark: i64,
    pub log_start_offset: i64,
}

/// A session.
#[derive(Debug)]
pub(crate) struct FetchSession {
    /// The epoch of the next request.
    epoch: i32,
    by_ids: bool,
    last_used_us: u64,
    created_us: u64,
    next_order: u64,
    by_order: BTreeMap<u64, Remembered>,
    by_key: BTreeMap<(TopicKey, i32), u64>,
}

impl FetchSession {
    fn new(by_ids: bool, now_us: u64) -> FetchSession {
        FetchSession {
            epoch: 1,
            by_ids,
            last_used_us: now_us,
            created_us: now_us,
            next_order: 0,
            by_order: BTreeMap::new(),
            by_key: BTreeMap::new(),
        }
    }

    fn remember(&mut self, topic: TopicKey, index: i32, wanted: Wanted) {
        let key = (topic, index);
        if let Some(remembered) = self.by_key.get(&key).and_then(|order| self.by_order.get_mut(order)) {
            remembered.wanted = wanted;
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        let topic = key.0.clone();
        let remembered = Remembered { topic, index, wanted, high_watermark: -1, log_start_offset: -1 };
        self.by_order.insert(order, remembered);
        self.by_key.insert(key, order);
    }

    fn forget(&mut self, topic: TopicKey, index: i32) {
        if let Some(order) = self.by_key.remove(&(topic, index)) {
            self.by_order.remove(&order);
        }
    }

    /// The partitions in the order in which they are to be read, each with its number here.
    pub fn partitions(&self) -> impl Iterator<Item = (u64, &Remembered)> {
        self.by_order.iter().map(|(order, remembered)| (*order, remembered))
    }

    /// Whether the response must name this partition; notes what the client then knows. Partitions with data go to the
    /// end, so that large ones do not starve the rest.
    pub fn tell(&mut self, order: u64, told: &Told) -> bool {
        let Some(remembered) = self.by_order.get_mut(&order) else { return true };
        let moved =
            remembered.high_watermark != told.high_watermark || remembered.log_start_offset != told.log_start_offset;
        let must = told.has_records || told.diverging || told.error != ErrorCode::None || moved;
        remembered.high_watermark = if told.error == ErrorCode::None { told.high_watermark } else { -1 };
        remembered.log_start_offset = told.log_start_offset;
        if told.has_records {
            let remembered = self.by_order.remove(&order).expect("just seen");
            let order = self.next_order;
            self.next_order += 1;
            self.by_key.insert((remembered.topic.clone(), remembered.index), order);
            self.by_order.insert(order, remembered);
        }
        must
    }
}

/// Changes that an incremental request brings.
pub(crate) struct Changes {
    pub wanted: Vec<(TopicKey, i32, Wanted)>,
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// All sessions of one shard.
pub(crate) struct FetchSessions {
    slots: usize,
    prng: Prng,
    sessions: BTreeMap<i32, FetchSession>,
    partition_count: usize,
    /// Sessions made, and sessions pushed out by others.
    pub made: u64,
    pub evicted: u64,
}

impl FetchSessions {
    pub fn new(slots: usize, seed: u64) -> FetchSessions {
        let prng = Prng::new(seed);
        FetchSessions { slots, prng, sessions: BTreeMap::new(), partition_count: 0, made: 0, evicted: 0 }
    }

    /// Ends a session; an unknown one is fine.
    pub fn close(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partition_count -= session.by_order.len();
        }
    }

    /// Begins a session with these partitions. None when there is no room: the client does without.
    pub fn create(
        &mut self,
        now_us: u64,
        by_ids: bool,
        wanted: impl ExactSizeIterator<Item = (TopicKey, i32, Wanted)>,
    ) -> Option<(i32, &mut FetchSession)> {
        let count = wanted.len();
        if self.partition_count + count > PARTITIONS_MAX || !self.make_room(now_us, count) {
            return None;
        }
        let id = loop {
            let id = (self.prng.next_u64() >> 33) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = FetchSession::new(by_ids, now_us);
        for (topic, index, wanted) in wanted {
            session.remember(topic, index, wanted);
        }
        self.partition_count += session.by_order.len();
        self.made += 1;
        Some((id, self.sessions.entry(id).or_insert(session)))
    }

    /// A free slot, if need be one of a session that has not been used for long, or of an old one that is smaller.
    fn make_room(&mut self, now_us: u64, partitions: usize) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let is_old = |at_us: u64| now_us.saturating_sub(at_us) > EVICTION_US;
        let idle = self.sessions.iter().filter(|(_, session)| is_old(session.last_used_us));
        let idle = idle.min_by_key(|(id, session)| (session.last_used_us, **id));
        let smaller = || {
            let old = self.sessions.iter().filter(|(_, session)| is_old(session.created_us));
            let smallest = old.min_by_key(|(id, session)| (session.by_order.len(), session.last_used_us, **id));
            smallest.filter(|(_, session)| session.by_order.len() < partitions)
        };
        let Some((&id, _)) = idle.or_else(smaller) else { return false };
        self.close(id);
        self.evicted += 1;
        true
    }

    /// Takes an incremental request's changes in and returns the session with what it now wants; none when nothing is
    /// left in it, which ends it.
    pub fn update(
        &mut self,
        now_us: u64,
        (id, epoch): (i32, i32),
        by_ids: bool,
        changes: Changes,
    ) -> Result<Option<&FetchSession>, ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_ids != by_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.by_order.len();
        if self.partition_count + changes.wanted.len() > PARTITIONS_MAX {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        for (topic, index) in changes.forgotten {
            session.forget(topic, index);
        }
        for (topic, index, wanted) in changes.wanted {
            session.remember(topic, index, wanted);
        }
        session.last_used_us = now_us;
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.partition_count = self.partition_count - before + session.by_order.len();
        if session.by_order.is_empty() {
            self.close(id);
            return Ok(None);
        }
        Ok(self.sessions.get(&id))
    }

    /// The session for the response to its request with this epoch.
    pub fn answering(&mut self, id: i32, epoch: i32) -> Result<&mut FetchSession, ErrorCode> {
        let next = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch == next { Ok(session) } else { Err(ErrorCode::InvalidFetchSessionEpoch) }
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offset: i64) -> Wanted {
        Wanted { current_leader_epoch: -1, fetch_offset: offset, last_fetched_epoch: -1, max_bytes: 100 }
    }

    fn key(topic: u128) -> TopicKey {
        TopicKey::Id(TopicId(topic))
    }

    fn parts(count: i32) -> Vec<(TopicKey, i32, Wanted)> {
        (0..count).map(|index| (key(100), index, wanted(0))).collect()
    }

    fn told(records: bool, high_watermark: i64) -> Told {
        let error = ErrorCode::None;
        Told { error, has_records: records, diverging: false, high_watermark, log_start_offset: 0 }
    }

    const NOTHING: fn() -> Changes = || Changes { wanted: Vec::new(), forgotten: Vec::new() };

    #[test]
    fn f7_epochs_ids_and_naming_are_checked() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = sessions.create(0, true, parts(2).into_iter()).unwrap().0;
        let mut refused = |id, epoch, by_ids| sessions.update(1, (id, epoch), by_ids, NOTHING()).err();
        assert_eq!(refused(id ^ 1, 1, true), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(refused(id, 2, true), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(refused(id, 1, false), Some(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(refused(id, 1, true), None);
        assert_eq!(refused(id, 1, true), Some(ErrorCode::InvalidFetchSessionEpoch), "each epoch is used once");
        assert_eq!(refused(id, 2, true), None);
        assert_eq!(sessions.answering(id, 2).map(|_| ()), Ok(()));
        assert_eq!(sessions.answering(id, 1).map(|_| ()), Err(ErrorCode::InvalidFetchSessionEpoch));
    }

    #[test]
    fn a_session_that_wants_nothing_any_more_ends() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = sessions.create(0, true, parts(2).into_iter()).unwrap().0;
        let forgotten = vec![(key(100), 0), (key(7), 0)];
        let changes = Changes { wanted: vec![(key(9), 3, wanted(5))], forgotten };
        let session = sessions.update(0, (id, 1), true, changes).unwrap().unwrap();
        let now: Vec<_> = session.partitions().map(|(_, r)| (r.topic.clone(), r.index)).collect();
        assert_eq!(now, [(key(100), 1), (key(9), 3)]);
        let forgotten = vec![(key(100), 1), (key(9), 3)];
        let left = sessions.update(0, (id, 2), true, Changes { wanted: Vec::new(), forgotten });
        assert!(left.unwrap().is_none());
        assert_eq!((sessions.len(), sessions.partition_count), (0, 0));
    }

    #[test]
    fn bug_redpanda_2949_partitions_with_data_go_to_the_end() {
        let mut sessions = FetchSessions::new(10, 1);
        let (_, session) = sessions.create(0, true, parts(3).into_iter()).unwrap();
        assert!(session.tell(0, &told(true, 5)));
        assert!(session.tell(1, &told(false, 0)));
        let order: Vec<i32> = session.partitions().map(|(_, remembered)| remembered.index).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn only_what_changed_is_told_and_an_error_is_followed_by_the_truth() {
        let mut sessions = FetchSessions::new(10, 1);
        let (_, session) = sessions.create(0, true, parts(1).into_iter()).unwrap();
        assert!(session.tell(0, &told(false, 5)), "the client knows nothing yet");
        assert!(!session.tell(0, &told(false, 5)));
        assert!(session.tell(0, &told(false, 6)));
        assert!(session.tell(0, &Told { log_start_offset: 2, ..told(false, 6) }));
        let failed = Told { error: ErrorCode::OffsetOutOfRange, log_start_offset: 2, ..told(false, 6) };
        assert!(session.tell(0, &failed));
        assert!(session.tell(0, &failed), "errors are always told");
        assert!(session.tell(0, &Told { log_start_offset: 2, ..told(false, 6) }), "the error is over");
        assert!(!session.tell(0, &Told { log_start_offset: 2, ..told(false, 6) }));
    }

    #[test]
    fn a_full_cache_gives_up_idle_sessions_first_then_old_and_smaller_ones() {
        let mut sessions = FetchSessions::new(2, 1);
        let first = sessions.create(0, true, parts(5).into_iter()).unwrap().0;
        let second = sessions.create(1, true, parts(2).into_iter()).unwrap().0;
        assert!(sessions.create(2, true, parts(9).into_iter()).is_none(), "both are young");
        let later = EVICTION_US + 10;
        sessions.update(later, (first, 1), true, NOTHING()).unwrap();
        sessions.update(later, (second, 1), true, NOTHING()).unwrap();
        assert!(sessions.create(later, true, parts(2).into_iter()).is_none(), "both are in use, none is smaller");
        let third = sessions.create(later, true, parts(3).into_iter()).unwrap().0;
        assert!(sessions.answering(second, 1).is_err(), "the smaller one went");
        let idle = later + EVICTION_US + 1;
        sessions.update(idle, (third, 1), true, NOTHING()).unwrap();
        sessions.create(idle, true, parts(1).into_iter()).unwrap();
        assert!(sessions.answering(first, 1).is_err(), "the idle one went");
        assert_eq!((sessions.len(), sessions.evicted, sessions.partition_count), (2, 2, 4));
    }
}
