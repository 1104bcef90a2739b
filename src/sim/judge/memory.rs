//! The account of one shard's requests and responses, kept from what it was told and what it gave back: nothing is held that is
//! not somebody's, and what it holds stays near its limit, at which it does not read any more.
//! Must never touch: how the shard counts.

use std::collections::{BTreeMap, VecDeque};

use super::Verdict;

/// What a request may cost beside its frame.
const REQUEST_OVERHEAD_BYTES: u64 = 512;

/// What one answer may add when there is little left: the least that a Fetch is given, a batch of the largest size that clients
/// send here, and the heads around it.
const ANSWER_BYTES: u64 = 256 << 10;

/// How long a request may be worked on after its connection is gone: disks stall and run full.
const ORPHAN_US: u64 = 10_000_000;

/// What one connection may be the reason of.
#[derive(Debug, Default)]
struct Account {
    /// Frames that were delivered and not answered, oldest first.
    unanswered: VecDeque<u64>,
    unanswered_bytes: u64,
    /// Of requests that get no answer: their end is not seen, so they count until the connection goes.
    silent_bytes: u64,
    /// Responses that were not taken whole: all of each, and what is left of it.
    untaken: VecDeque<(u64, u64)>,
    untaken_bytes: u64,
    /// Of the requests on their way, whether each will be answered.
    due: VecDeque<bool>,
    /// The largest frame, and all that came although it was not to be read: it was on its way already.
    largest_bytes: u64,
    is_paused: bool,
    overrun_bytes: u64,
}

impl Account {
    fn bytes(&self) -> u64 {
        self.unanswered_bytes + self.silent_bytes + self.untaken_bytes
    }

    fn allowance_bytes(&self) -> u64 {
        self.largest_bytes + self.overrun_bytes + ANSWER_BYTES
    }
}

/// One shard's connections.
#[derive(Debug, Default)]
pub struct MemoryJudge {
    accounts: BTreeMap<u64, Account>,
    bytes: u64,
    allowance_bytes: u64,
    /// Of requests whose connection is gone: until when they may still be worked on, and what they hold.
    orphans: VecDeque<(u64, u64)>,
    orphan_bytes: u64,
    /// The most that it was seen to hold.
    pub peak_bytes: u64,
}

impl MemoryJudge {
    /// A request was sent. What nobody announces is not known to be answered.
    pub fn announced(&mut self, conn: u64, is_answered: bool) {
        self.change(conn, |account| account.due.push_back(is_answered));
    }

    /// The shard has got the next frame.
    pub fn got(&mut self, conn: u64, bytes: u64) {
        let bytes = bytes + REQUEST_OVERHEAD_BYTES;
        self.change(conn, |account| {
            if account.due.pop_front().unwrap_or(false) {
                account.unanswered.push_back(bytes);
                account.unanswered_bytes += bytes;
            } else {
                account.silent_bytes += bytes;
            }
            account.largest_bytes = account.largest_bytes.max(bytes);
            account.overrun_bytes += if account.is_paused { bytes } else { 0 };
        });
    }

    /// The shard wants the connection to be read, or not.
    pub fn paused(&mut self, conn: u64, is_paused: bool) {
        self.change(conn, |account| (account.is_paused, account.overrun_bytes) = (is_paused, 0));
    }

    /// The shard answers the oldest of the connection's requests.
    pub fn answered(&mut self, conn: u64, bytes: u64) {
        self.change(conn, |account| {
            account.unanswered_bytes -= account.unanswered.pop_front().unwrap_or(0);
            account.untaken.push_back((bytes, bytes));
            account.untaken_bytes += bytes;
        });
    }

    /// The other end took so much.
    pub fn taken(&mut self, conn: u64, mut bytes: u64) {
        self.change(conn, |account| {
            while let Some((all, left)) = account.untaken.front_mut() {
                let taken = bytes.min(*left);
                (*left, bytes) = (*left - taken, bytes - taken);
                if *left > 0 {
                    break;
                }
                account.untaken_bytes -= *all;
                account.untaken.pop_front();
            }
        });
    }

    /// The shard was told that the connection is gone.
    pub fn closed(&mut self, conn: u64, now_us: u64) {
        let Some(account) = self.accounts.remove(&conn) else { return };
        self.bytes -= account.bytes();
        self.allowance_bytes -= account.allowance_bytes();
        let orphan_bytes = account.silent_bytes + account.unanswered_bytes;
        if orphan_bytes > 0 {
            self.orphans.push_back((now_us + ORPHAN_US, orphan_bytes));
            self.orphan_bytes += orphan_bytes;
        }
    }

    fn change(&mut self, conn: u64, change: impl FnOnce(&mut Account)) {
        let is_new = !self.accounts.contains_key(&conn);
        let account = self.accounts.entry(conn).or_default();
        let before = (account.bytes(), if is_new { 0 } else { account.allowance_bytes() });
        change(account);
        self.bytes = self.bytes + account.bytes() - before.0;
        self.allowance_bytes = self.allowance_bytes + account.allowance_bytes() - before.1;
    }

    /// The shard says that it holds so much of so much that it may, `ready_bytes` of it in responses that it has not given out
    /// because others must leave before them.
    pub fn holds(&mut self, (used_bytes, ready_bytes): (u64, u64), limit_bytes: u64, now_us: u64) -> Verdict {
        self.peak_bytes = self.peak_bytes.max(used_bytes);
        while let Some(&(until_us, bytes)) = self.orphans.front()
            && until_us < now_us
        {
            self.orphan_bytes -= bytes;
            self.orphans.pop_front();
        }
        if used_bytes > self.bytes + self.orphan_bytes + ready_bytes {
            return Err(format!("M: it holds {used_bytes} bytes, {} are somebody's: {}", self.bytes, self.largest()));
        }
        let most_bytes = limit_bytes + limit_bytes / 4 + self.allowance_bytes + self.orphan_bytes;
        if used_bytes > most_bytes {
            let why = format!("{most_bytes} at most are due to its limit of {limit_bytes}");
            return Err(format!("M: it holds {used_bytes} bytes, {why}: {}", self.largest()));
        }
        Ok(())
    }

    /// Who has most of it: connections with what is not answered, will not be, and is not taken.
    fn largest(&self) -> String {
        let mut accounts: Vec<(u64, &u64, &Account)> =
            self.accounts.iter().map(|(conn, account)| (account.bytes(), conn, account)).collect();
        accounts.sort_unstable_by_key(|&(bytes, conn, _)| (std::cmp::Reverse(bytes), *conn));
        let told = |&(_, conn, account): &(u64, &u64, &Account)| {
            let Account { unanswered_bytes, silent_bytes, untaken_bytes, overrun_bytes, .. } = account;
            let responses = account.untaken.len();
            format!(
                "conn {conn}: {unanswered_bytes} + {silent_bytes} + {untaken_bytes} in {responses}, {overrun_bytes} too late"
            )
        };
        accounts.iter().take(6).map(told).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_asked_for_is_not_held() {
        let mut judge = MemoryJudge::default();
        judge.announced(1, true);
        judge.got(1, 100);
        judge.got(1, 50);
        assert!(judge.holds((150 + 1024, 0), 10_000, 0).is_ok());
        assert!(judge.holds((151 + 1024, 0), 10_000, 0).is_err());
        judge.answered(1, 5000);
        assert!(judge.holds((5000 + 50 + 512, 0), 10_000, 0).is_ok(), "the response until it is taken");
        judge.taken(1, 4999);
        assert!(judge.holds((5000 + 50 + 512, 0), 10_000, 0).is_ok(), "whole");
        judge.taken(1, 1);
        assert!(judge.holds((5000, 0), 10_000, 0).is_err(), "given back late");
        judge.closed(1, 0);
        assert!(judge.holds((50 + 512, 0), 10_000, ORPHAN_US).is_ok(), "it is still worked on");
        assert!(judge.holds((50 + 513, 0), 10_000, ORPHAN_US).is_err(), "what is left of a connection that is gone");
        assert!(judge.holds((0, 0), 10_000, ORPHAN_US + 1).is_ok());
        assert!(judge.holds((1, 0), 10_000, ORPHAN_US + 1).is_err(), "for ever");
    }

    #[test]
    fn the_limit_holds_but_for_what_was_on_its_way() {
        let mut judge = MemoryJudge::default();
        for place in 0..100 {
            judge.paused(1, place == 97);
            judge.got(1, 100_000);
        }
        judge.paused(1, true);
        judge.got(1, 1000);
        let most = 125_000 + 100_512 + 1512 + ANSWER_BYTES;
        assert!(judge.holds((most, 0), 100_000, 0).is_ok());
        assert!(judge.holds((most + 1, 0), 100_000, 0).is_err());
    }
}
