//! Requests that wait for something: mail, data, time. A slab, so that the hot path finds its request by an index.
//! Must never touch: what they wait for.

use crate::handlers::{Head, Waiting, fetch::FetchWait, produce::ProduceWait};
use crate::mail::ReqId;

/// What a waiting request is.
pub(crate) enum Pending {
    Produce(ProduceWait),
    Fetch(Box<FetchWait>),
    Other(Box<dyn Waiting>),
}

struct Entry {
    generation: u32,
    head: Option<Head>,
    deadline_us: Option<u64>,
    /// None while its handler has it in its hands.
    pending: Option<Pending>,
}

/// All waiting requests of one shard.
#[derive(Default)]
pub(crate) struct PendingTable {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

impl PendingTable {
    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Puts a request in.
    pub fn insert(&mut self, head: Head, deadline_us: Option<u64>, pending: Pending) -> ReqId {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                assert!(self.entries.len() < u32::MAX as usize, "the memory budget ends long before");
                self.entries.push(Entry { generation: 0, head: None, deadline_us: None, pending: None });
                (self.entries.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[index as usize];
        (entry.head, entry.deadline_us, entry.pending) = (Some(head), deadline_us, Some(pending));
        ReqId(u64::from(entry.generation) << 32 | u64::from(index))
    }

    fn entry(&mut self, id: ReqId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id.0 as u32 as usize)?;
        (entry.generation == (id.0 >> 32) as u32 && entry.head.is_some()).then_some(entry)
    }

    /// Takes the request into the caller's hands, who puts it back or removes it. None when it is over already.
    pub fn take(&mut self, id: ReqId) -> Option<(Head, Pending)> {
        let entry = self.entry(id)?;
        Some((entry.head?, entry.pending.take()?))
    }

    /// Puts a request back that still waits.
    pub fn put_back(&mut self, id: ReqId, pending: Pending) {
        let entry = self.entry(id).expect("what was taken is still in the table");
        entry.pending = Some(pending);
    }

    /// The request in place.
    pub fn get_mut(&mut self, id: ReqId) -> Option<(&Head, &mut Pending)> {
        let entry = self.entry(id)?;
        Some((entry.head.as_ref()?, entry.pending.as_mut()?))
    }

    /// Gives a request a deadline. True if it had none.
    pub fn set_deadline(&mut self, id: ReqId, at_us: u64) -> bool {
        self.entry(id).is_some_and(|entry| entry.deadline_us.replace(at_us).is_none())
    }

    /// Ends a request; its id is never valid again. Returns its deadline.
    pub fn remove(&mut self, id: ReqId) -> Option<u64> {
        let entry = self.entry(id)?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.head = None;
        entry.pending = None;
        let deadline_us = entry.deadline_us.take();
        self.free.push(id.0 as u32);
        deadline_us
    }

    /// The waiting requests that the test picks.
    pub fn select(&self, test: impl Fn(&Head, Option<u64>, &Pending) -> bool) -> Vec<ReqId> {
        let picked = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let (head, pending) = (entry.head.as_ref()?, entry.pending.as_ref()?);
            test(head, entry.deadline_us, pending).then_some(ReqId(u64::from(entry.generation) << 32 | index as u64))
        });
        picked.collect()
    }
}
