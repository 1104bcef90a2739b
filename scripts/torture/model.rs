//! What the clients know of one partition: what they sent, what was acknowledged at which offset, what somebody has read.
//! It judges what comes back. Must never touch: sockets, clocks, the broker's code.

use std::collections::BTreeMap;

/// A batch as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who sent it.
    pub writer: u32,
    /// The number of its first record among those of this writer in this partition.
    pub first_n: u64,
    /// How many records it has.
    pub count: u32,
    /// The timestamp of all of them.
    pub timestamp_ms: i64,
    /// The size of the batch.
    pub bytes: u32,
    /// Producer id, epoch and first sequence number of an idempotent producer.
    pub producer: Option<(i64, i16, i32)>,
    /// Its writer repeats what got no answer, so that its records have no gaps.
    pub gapless: bool,
}

/// A batch with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub sent: Sent,
    /// Acknowledged; else only read by somebody, which a crash may not take back either.
    pub acked: bool,
}

impl Fact {
    fn end(&self, base: i64) -> i64 {
        base + i64::from(self.sent.count)
    }
}

/// Why records at the front of the log may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Only because a client asked (DeleteRecords).
    Asked,
    /// When they are older than this (`retention.ms`).
    AfterMs(i64),
    /// When more than this is left (`retention.bytes`).
    AboveBytes(u64),
}

/// Bytes that a crash may take from the end of a log after retention counted them.
const TAIL_SLACK_BYTES: u64 = 4 << 20;

/// A partition as its clients know it.
#[derive(Debug, Default)]
pub struct PartitionModel {
    /// Sent, and neither acknowledged nor read yet, by writer and first number.
    on_way: BTreeMap<(u32, u64), Sent>,
    facts: BTreeMap<i64, Fact>,
    /// The end of what was acknowledged or read.
    end: i64,
    /// The first offset asked for by DeleteRecords.
    pub trim_asked: i64,
    /// The first offset as far as DeleteRecords was acknowledged.
    pub trim_acked: i64,
    /// Facts below are forgotten: the log was seen to begin here.
    low: i64,
}

impl PartitionModel {
    /// A batch is about to be sent for the first time.
    pub fn sending(&mut self, sent: Sent) {
        self.on_way.insert((sent.writer, sent.first_n), sent);
    }

    /// The broker acknowledged a batch at `base`.
    pub fn acked(&mut self, sent: &Sent, base: i64) -> Result<(), String> {
        if base < 0 {
            return Err(format!("{sent:?} was acknowledged without an offset ({base})"));
        }
        self.on_way.remove(&(sent.writer, sent.first_n));
        if let Some(fact) = self.facts.get_mut(&base) {
            if fact.sent != *sent {
                return Err(format!("{sent:?} was acknowledged at {base}, where {fact:?} stands"));
            }
            fact.acked = true;
            return Ok(());
        }
        if base + i64::from(sent.count) <= self.low {
            return Ok(());
        }
        self.place(base, Fact { sent: *sent, acked: true })
    }

    /// A batch was read at `base`; its bytes are known to be those of `writer`'s records from `first_n` on.
    pub fn seen(
        &mut self,
        base: i64,
        (writer, first_n, count): (u32, u64, u32),
        timestamp_ms: i64,
        producer: Option<(i64, i16, i32)>,
    ) -> Result<Sent, String> {
        let sent = match self.facts.get(&base) {
            Some(fact) => fact.sent,
            None => match self.on_way.remove(&(writer, first_n)) {
                Some(sent) => {
                    self.place(base, Fact { sent, acked: false })?;
                    sent
                }
                None => return Err(self.unexpected(base, writer, first_n)),
            },
        };
        let read = Sent { writer, first_n, count, timestamp_ms, producer, ..sent };
        if read == sent { Ok(sent) } else { Err(format!("at {base} stands {read:?} where {sent:?} is due")) }
    }

    fn unexpected(&self, base: i64, writer: u32, first_n: u64) -> String {
        let mut others =
            self.facts.iter().filter(|(_, fact)| (fact.sent.writer, fact.sent.first_n) == (writer, first_n));
        match others.next() {
            Some((other, _)) => format!("records {first_n} of writer {writer} stand at {base} and at {other}: doubled"),
            None => format!("records {first_n} of writer {writer} at {base} were never sent, or are long gone"),
        }
    }

    fn place(&mut self, base: i64, fact: Fact) -> Result<(), String> {
        let end = fact.end(base);
        let before = self.facts.range(..base).next_back().map(|(at, other)| (*at, *other));
        let after = self.facts.range(base..).next().map(|(at, other)| (*at, *other));
        if let Some((at, other)) = before.filter(|(at, other)| other.end(*at) > base) {
            return Err(format!("{fact:?} at {base} lies in {other:?} at {at}"));
        }
        if let Some((at, other)) = after.filter(|(at, _)| *at < end) {
            return Err(format!("{other:?} at {at} lies in {fact:?} at {base}"));
        }
        self.facts.insert(base, fact);
        self.end = self.end.max(end);
        Ok(())
    }

    /// A consumer was given the record at `offset`: nothing may take it back.
    pub fn consumed(&mut self, offset: i64) {
        self.end = self.end.max(offset + 1);
    }

    /// The end of what must be there.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// How many batches are remembered, and how many bytes they are.
    pub fn size(&self) -> (usize, u64) {
        (self.facts.len(), self.facts.values().map(|fact| u64::from(fact.sent.bytes)).sum())
    }

    /// The log begins at `start`, at the time `now_ms`: was everything below rightly deleted? Forgets it then.
    pub fn begins_at(&mut self, start: i64, now_ms: i64, retention: Retention) -> Result<(), String> {
        if start < self.trim_acked {
            return Err(format!("the log begins at {start}, but DeleteRecords reached {}", self.trim_acked));
        }
        let free = self.trim_asked;
        if start > free {
            match retention {
                Retention::Asked => {
                    return Err(format!("the log begins at {start}, and deletion was asked up to {free}"));
                }
                Retention::AfterMs(ms) => {
                    let mut gone = self.facts.range(free..start);
                    if let Some((at, fact)) = gone.find(|(_, fact)| fact.sent.timestamp_ms >= now_ms - ms) {
                        return Err(format!(
                            "{fact:?} at {at} is gone {} ms early",
                            fact.sent.timestamp_ms + ms - now_ms
                        ));
                    }
                }
                Retention::AboveBytes(bytes) => {
                    let left: u64 = self.facts.range(start..).map(|(_, fact)| u64::from(fact.sent.bytes)).sum();
                    if left + TAIL_SLACK_BYTES < bytes {
                        return Err(format!("the log begins at {start}, and only {left} bytes are left of {bytes}"));
                    }
                }
            }
        }
        self.facts = self.facts.split_off(&start.max(self.low).saturating_sub(MARGIN_OFFSETS));
        self.low = self.low.max(start);
        self.end = self.end.max(start);
        Ok(())
    }
}

/// Facts just below the log's start are kept: a batch may reach across it.
const MARGIN_OFFSETS: i64 = 1000;

/// The order of one pass through a partition: what each writer's next record must be.
#[derive(Debug, Default)]
pub struct Pass {
    next_n: BTreeMap<u32, u64>,
    from_start: bool,
}

impl Pass {
    /// A pass that begins at `offset`.
    pub fn new(offset: i64) -> Pass {
        Pass { next_n: BTreeMap::new(), from_start: offset == 0 }
    }

    /// The next batch of the partition.
    pub fn step(&mut self, base: i64, sent: &Sent) -> Result<(), String> {
        let first = if self.from_start { Some(0) } else { None };
        let next = self.next_n.insert(sent.writer, sent.first_n + u64::from(sent.count)).or(first);
        match next {
            Some(next) if sent.first_n < next => Err(format!(
                "{sent:?} at {base} comes after record {} of its writer: doubled or out of order",
                next - 1
            )),
            Some(next) if sent.gapless && sent.first_n > next => {
                Err(format!("{sent:?} at {base}: records {next} to {} of its writer are missing", sent.first_n - 1))
            }
            _ => Ok(()),
        }
    }
}

/// A committed offset as the clients know it; none is "nothing committed".
#[derive(Debug, Default)]
pub struct CommitModel {
    acked: Option<i64>,
    /// The topic was deleted, with its commits sooner or later: until the next commit anything may be found.
    open: bool,
    /// Sent and not answered yet: a number, the broker's life, the value.
    on_way: Vec<(u64, u64, Option<i64>)>,
    /// Never answered: the broker's life, the value.
    maybe: Vec<(u64, Option<i64>)>,
}

impl CommitModel {
    /// A commit is about to be sent in this life of the broker.
    pub fn sending(&mut self, id: u64, life: u64, value: Option<i64>) {
        self.on_way.push((id, life, value));
    }

    fn take(&mut self, id: u64) -> Option<(u64, Option<i64>)> {
        let at = self.on_way.iter().position(|one| one.0 == id)?;
        let (_, life, value) = self.on_way.remove(at);
        Some((life, value))
    }

    /// It was acknowledged.
    pub fn acked(&mut self, id: u64) {
        if let Some((life, value)) = self.take(id) {
            (self.acked, self.open) = (value, false);
            self.maybe.retain(|(other, _)| *other >= life);
        }
    }

    /// It was refused.
    pub fn refused(&mut self, id: u64) {
        self.take(id);
    }

    /// It was never answered.
    pub fn unknown(&mut self, id: u64) {
        if let Some(one) = self.take(id) {
            self.maybe.push(one);
        }
    }

    /// Its topic is being deleted.
    pub fn forget(&mut self) {
        *self = CommitModel { open: true, ..CommitModel::default() };
    }

    /// The broker says that this is committed.
    pub fn check(&mut self, found: Option<i64>) -> Result<(), String> {
        let possible = self.maybe.iter().any(|one| one.1 == found) || self.on_way.iter().any(|one| one.2 == found);
        if found == self.acked || self.open {
            return Ok(());
        }
        if !possible {
            return Err(format!("committed is {found:?}, acknowledged was {:?} (maybe {:?})", self.acked, self.maybe));
        }
        // Kept among the possible ones: another answer may still be on its way.
        self.acked = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(writer: u32, first_n: u64, count: u32) -> Sent {
        Sent { writer, first_n, count, timestamp_ms: 1000, bytes: 100, producer: None, gapless: true }
    }

    fn acked(list: &[(i64, Sent)]) -> PartitionModel {
        let mut model = PartitionModel::default();
        for (base, sent) in list {
            model.sending(*sent);
            model.acked(sent, *base).expect("fits");
        }
        model
    }

    fn seen(model: &mut PartitionModel, base: i64, sent: Sent) -> Result<Sent, String> {
        model.seen(base, (sent.writer, sent.first_n, sent.count), sent.timestamp_ms, sent.producer)
    }

    #[test]
    fn what_is_as_acknowledged_is_accepted() {
        let mut model = acked(&[(0, sent(1, 0, 3)), (3, sent(2, 0, 2))]);
        let mut pass = Pass::new(0);
        for (base, due) in [(0, sent(1, 0, 3)), (3, sent(2, 0, 2))] {
            let found = seen(&mut model, base, due).expect("as acknowledged");
            pass.step(base, &found).expect("in order");
        }
        assert_eq!((model.end(), model.size()), (5, (2, 200)));
    }

    #[test]
    fn changed_doubled_and_unknown_batches_are_found() {
        let mut model = acked(&[(0, sent(1, 0, 3))]);
        assert!(seen(&mut model, 0, sent(1, 1, 3)).unwrap_err().contains("is due"));
        assert!(seen(&mut model, 3, sent(1, 0, 3)).unwrap_err().contains("doubled"));
        assert!(seen(&mut model, 3, sent(9, 0, 3)).unwrap_err().contains("never sent"));
        model.sending(sent(1, 3, 1));
        assert!(model.acked(&sent(1, 3, 1), 2).unwrap_err().contains("lies in"));
        assert!(model.acked(&sent(1, 3, 1), -1).unwrap_err().contains("without an offset"));
    }

    #[test]
    fn gaps_and_wrong_order_are_found() {
        let mut pass = Pass::new(0);
        assert!(pass.step(0, &sent(1, 0, 2)).is_ok());
        assert!(pass.step(2, &sent(1, 3, 1)).unwrap_err().contains("missing"));
        assert!(pass.step(3, &sent(1, 0, 2)).unwrap_err().contains("doubled"));
        assert!(pass.step(5, &sent(2, 1, 1)).unwrap_err().contains("missing"), "the first record, too");
        let mut later = Pass::new(100);
        assert!(later.step(100, &sent(2, 50, 1)).is_ok());
        let lossy = Sent { gapless: false, ..sent(3, 7, 1) };
        assert!(later.step(101, &lossy).is_ok());
        assert!(later.step(102, &Sent { first_n: 9, ..lossy }).is_ok());
        assert!(later.step(103, &Sent { first_n: 8, ..lossy }).is_err());
    }

    #[test]
    fn only_what_may_go_may_be_gone() {
        let model = || acked(&[(0, sent(1, 0, 2000)), (2000, sent(1, 2000, 1))]);
        assert!(model().begins_at(2000, 0, Retention::Asked).is_err());
        let mut trimmed = model();
        trimmed.trim_asked = 2000;
        assert!(trimmed.begins_at(2000, 0, Retention::Asked).is_ok());
        trimmed.trim_acked = 2000;
        assert!(trimmed.begins_at(0, 0, Retention::Asked).is_err());
        assert!(model().begins_at(2000, 1400, Retention::AfterMs(500)).unwrap_err().contains("100 ms early"));
        assert!(model().begins_at(2000, 1501, Retention::AfterMs(500)).is_ok());
        assert!(model().begins_at(2000, 0, Retention::AboveBytes(TAIL_SLACK_BYTES + 101)).is_err());
        assert!(model().begins_at(2000, 0, Retention::AboveBytes(TAIL_SLACK_BYTES)).is_ok());
    }

    #[test]
    fn commits_are_what_was_acknowledged_or_may_have_arrived() {
        let mut commit = CommitModel::default();
        assert!(commit.check(None).is_ok());
        commit.sending(1, 1, Some(5));
        commit.acked(1);
        assert!(commit.check(Some(5)).is_ok());
        assert!(commit.check(None).is_err(), "lost");
        commit.sending(2, 1, Some(6));
        commit.unknown(2);
        commit.sending(3, 1, Some(7));
        commit.refused(3);
        assert!(commit.check(Some(7)).is_err());
        assert!(commit.check(Some(6)).is_ok() && commit.check(Some(5)).is_err(), "once seen it stays");
        commit.sending(4, 2, Some(8));
        commit.acked(4);
        assert!(commit.check(Some(6)).is_err(), "what the last life did not do, this one must not");
        commit.forget();
        assert!(commit.check(None).is_ok() && commit.check(Some(8)).is_ok());
    }
}
