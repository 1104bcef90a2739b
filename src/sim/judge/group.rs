//! The model of committed offsets: each (group, partition) is a register. What OffsetFetch answers must have been written before the
//! answer came, and must not have been overwritten for good before the question was sent (C2, O4).

use std::collections::BTreeMap;

use super::Verdict;
use super::log::PartitionName;

/// One OffsetCommit of one partition.
#[derive(Clone, Copy, Debug)]
struct Commit {
    offset: i64,
    sent_at: u64,
    /// When it was acked; none while its outcome is unknown.
    acked_at: Option<u64>,
}

/// All groups.
#[derive(Debug, Default)]
pub struct GroupJudge {
    registers: BTreeMap<(String, PartitionName), BTreeMap<u64, Commit>>,
    next: u64,
    /// Counts for the report.
    pub commits: u64,
    pub fetches: u64,
}

/// Names a commit until its outcome is known.
#[derive(Clone, Debug)]
pub struct CommitToken {
    register: (String, PartitionName),
    number: u64,
}

impl GroupJudge {
    /// A commit is sent. Times are a counter of the simulation's events.
    pub fn committing(&mut self, group: &str, partition: &PartitionName, offset: i64, at: u64) -> CommitToken {
        let register = (group.to_string(), partition.clone());
        self.next += 1;
        let commit = Commit { offset, sent_at: at, acked_at: None };
        self.registers.entry(register.clone()).or_default().insert(self.next, commit);
        CommitToken { register, number: self.next }
    }

    /// A commit was answered without an error.
    pub fn committed(&mut self, token: &CommitToken, at: u64) {
        let commit = self.registers.get_mut(&token.register).and_then(|all| all.get_mut(&token.number));
        commit.expect("tokens name commits that were sent").acked_at = Some(at);
        self.commits += 1;
    }

    /// A commit was refused: it must have had no effect.
    pub fn refused(&mut self, token: &CommitToken) {
        self.registers.get_mut(&token.register).expect("sent").remove(&token.number);
    }

    /// OffsetFetch, sent at `asked_at`, answered `offset` (-1: nothing) at `at`.
    pub fn fetched(&mut self, group: &str, partition: &PartitionName, offset: i64, asked_at: u64, at: u64) -> Verdict {
        self.fetches += 1;
        let register = (group.to_string(), partition.clone());
        let nothing = BTreeMap::new();
        let commits = self.registers.get(&register).unwrap_or(&nothing);
        let over = |sent_at: u64| {
            commits.values().find(|last| last.acked_at.is_some_and(|acked| acked < asked_at) && last.sent_at > sent_at)
        };
        if offset == -1 {
            return match commits.values().find(|commit| commit.acked_at.is_some_and(|acked| acked < asked_at)) {
                Some(lost) => Err(format!("C2: {register:?} has no offset, but {lost:?} was acked before {asked_at}")),
                None => Ok(()),
            };
        }
        // A commit of unknown outcome may have taken effect at any time after it was sent.
        let fits = |commit: &Commit| {
            commit.offset == offset && commit.sent_at < at && commit.acked_at.is_none_or(|acked| over(acked).is_none())
        };
        if commits.values().any(fits) {
            return Ok(());
        }
        Err(format!(
            "C2: {register:?} answered {offset} between {asked_at} and {at}; commits: {:?}",
            commits.values().rev().take(8).collect::<Vec<_>>()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_answers_its_last_commit_and_nothing_else() {
        let (mut judge, at) = (GroupJudge::default(), ("t".to_string(), 0));
        assert!(judge.fetched("g", &at, -1, 1, 2).is_ok());
        let first = judge.committing("g", &at, 10, 3);
        assert!(judge.fetched("g", &at, 10, 3, 4).is_ok(), "sent, not acked: may be seen");
        assert!(judge.fetched("g", &at, -1, 3, 4).is_ok(), "or not");
        judge.committed(&first, 5);
        assert!(judge.fetched("g", &at, -1, 6, 7).is_err(), "lost");
        assert!(judge.fetched("g", &at, 11, 6, 7).is_err(), "never written");
        let second = judge.committing("g", &at, 20, 8);
        assert!(judge.fetched("g", &at, 10, 9, 10).is_ok(), "the second one is still under way");
        judge.committed(&second, 11);
        assert!(judge.fetched("g", &at, 10, 12, 13).is_err(), "overwritten");
        assert!(judge.fetched("g", &at, 10, 10, 13).is_ok(), "asked before the second was acked");
        let third = judge.committing("g", &at, 30, 14);
        judge.refused(&third);
        assert!(judge.fetched("g", &at, 30, 15, 16).is_err(), "refused, yet seen");
    }
}
