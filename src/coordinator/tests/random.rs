//! Random interleavings of clients, timeouts, commits, failures and restarts.

use super::lab::*;
use crate::command::*;
use crate::{GroupError, WriteError};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A client as simple as one can be: it does what the answers tell it.
#[derive(Debug, Default)]
struct Client {
    instance: Option<String>,
    member_id: String,
    generation: i32,
    step: Step,
    alive: bool,
    assignment: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Step {
    #[default]
    MustJoin,
    Joining(Token),
    Syncing(Token),
    Stable,
}

#[derive(Clone, Debug)]
enum Act {
    Run(usize),
    Die(usize),
    Leave(usize),
    Commit(usize, i64),
    CommitLog,
    FailLog(u8),
    Wait(u64),
    Restart,
    Delete,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..CLIENTS).prop_map(Act::Run),
        1 => (0..CLIENTS).prop_map(Act::Die),
        1 => (0..CLIENTS).prop_map(Act::Leave),
        3 => (0..CLIENTS, 0i64..1000).prop_map(|(c, o)| Act::Commit(c, o)),
        6 => Just(Act::CommitLog),
        1 => (0u8..3).prop_map(Act::FailLog),
        4 => prop_oneof![0u64..500, 500u64..12_000].prop_map(Act::Wait),
        1 => Just(Act::Restart),
        1 => Just(Act::Delete),
    ];
    prop::collection::vec(act, 1..250)
}

const CLIENTS: usize = 6;

struct World {
    lab: Lab,
    clients: Vec<Client>,
    /// Commits that were not answered yet: token to offset.
    commits: BTreeMap<Token, i64>,
    deletes: Vec<Token>,
}

impl World {
    fn new() -> World {
        let mut lab = Lab::new();
        lab.auto_commit = false;
        let client = |n: usize| Client {
            instance: (n >= CLIENTS - 2).then(|| format!("static-{n}")),
            alive: n.is_multiple_of(2),
            ..Client::default()
        };
        World { lab, clients: (0..CLIENTS).map(client).collect(), commits: BTreeMap::new(), deletes: Vec::new() }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Run(n) => {
                self.clients[n].alive = true;
                self.run(n);
            }
            Act::Die(n) => self.clients[n] = Client { instance: self.clients[n].instance.take(), ..Client::default() },
            Act::Leave(n) => {
                let id = std::mem::take(&mut self.clients[n].member_id);
                let _ = self.lab.leave("g", &[(&id, None)]);
                self.clients[n] = Client { instance: self.clients[n].instance.take(), ..Client::default() };
            }
            Act::Commit(n, offset) => {
                let client = &self.clients[n];
                let (generation, id) = if client.step == Step::Stable {
                    (client.generation, client.member_id.clone())
                } else {
                    (-1, String::new())
                };
                let token = self.lab.commit_as("g", generation, &id, "t", offset);
                self.commits.insert(token, offset);
            }
            Act::CommitLog => drop(self.lab.commit_one()),
            Act::FailLog(kind) => {
                let error = [WriteError::TooLarge, WriteError::Unavailable, WriteError::NotLeader][kind as usize];
                self.lab.fail_one(error);
            }
            Act::Wait(ms) => self.lab.advance_ms(ms),
            Act::Restart => self.restart(),
            Act::Delete => {
                let token = self.lab.delete("g");
                self.deletes.push(token);
            }
        }
        self.check_commits();
    }

    /// The broker dies: what was parked is lost, clients come back with what they know.
    fn restart(&mut self) {
        self.lab.restart();
        self.commits.clear();
        self.deletes.clear();
        for client in &mut self.clients {
            if client.step != Step::Stable {
                client.step = Step::MustJoin;
            }
        }
    }

    /// C2: an acked commit is in the log.
    fn check_commits(&mut self) {
        let answered: Vec<Token> = self.commits.keys().copied().filter(|t| !self.lab.is_parked(*t)).collect();
        for token in answered {
            let offset = self.commits.remove(&token).expect("it was listed");
            if self.lab.commit_error(token).is_none() {
                let is_logged =
                    self.lab.log.iter().any(
                        |record| matches!(record, crate::Record::Offset { value: Some(v), .. } if v.offset == offset),
                    );
                assert!(is_logged, "an acked commit of {offset} is not in the log");
            }
        }
    }

    fn run(&mut self, n: usize) {
        match self.clients[n].step {
            Step::MustJoin => {
                let client = &self.clients[n];
                let request = Join {
                    group_instance_id: client.instance.as_deref().map(s),
                    requires_known_member_id: true,
                    rebalance_timeout_ms: 20_000,
                    ..join("g", &client.member_id)
                };
                let token = self.lab.join(&request);
                self.clients[n].step = Step::Joining(token);
                self.on_joined(n, token);
            }
            Step::Joining(token) => self.on_joined(n, token),
            Step::Syncing(token) => self.on_synced(n, token),
            Step::Stable => {
                let (generation, id) = (self.clients[n].generation, self.clients[n].member_id.clone());
                if let Err(error) = self.lab.heartbeat("g", generation, &id) {
                    self.on_error(n, error);
                }
            }
        }
    }

    fn on_joined(&mut self, n: usize, token: Token) {
        if self.lab.is_parked(token) {
            return;
        }
        let reply = self.lab.join_reply(token);
        let client = &mut self.clients[n];
        if reply.error == Some(GroupError::MemberIdRequired) {
            client.member_id = reply.member_id.to_string();
            client.step = Step::MustJoin;
            return;
        }
        if let Some(error) = reply.error {
            return self.on_error(n, error);
        }
        client.member_id = reply.member_id.to_string();
        client.generation = reply.generation;
        let plan: Vec<(String, String)> = reply
            .members
            .iter()
            .map(|m| (m.member_id.to_string(), format!("{}@{}", m.member_id, reply.generation)))
            .collect();
        let plan: Vec<(&str, &str)> = plan.iter().map(|(m, a)| (m.as_str(), a.as_str())).collect();
        let token = self.lab.sync("g", reply.generation, &reply.member_id, &plan);
        self.clients[n].step = Step::Syncing(token);
        self.on_synced(n, token);
    }

    fn on_synced(&mut self, n: usize, token: Token) {
        if self.lab.is_parked(token) {
            return;
        }
        match self.lab.assignment(token) {
            Ok(assignment) => {
                self.clients[n].assignment = Some(assignment);
                self.clients[n].step = Step::Stable;
            }
            Err(error) => self.on_error(n, error),
        }
    }

    fn on_error(&mut self, n: usize, error: GroupError) {
        let client = &mut self.clients[n];
        if matches!(error, GroupError::UnknownMember | GroupError::FencedInstance | GroupError::IllegalGeneration) {
            client.member_id.clear();
        }
        client.step = Step::MustJoin;
        client.assignment = None;
    }

    /// The log works again, everybody does their best: all live clients end in one stable generation.
    fn converge(&mut self) {
        self.lab.auto_commit = true;
        while self.lab.commit_one() {}
        for _ in 0..400 {
            for n in 0..CLIENTS {
                if self.clients[n].alive {
                    self.run(n);
                }
            }
            self.lab.advance_ms(500);
        }
        let live: Vec<&Client> = self.clients.iter().filter(|c| c.alive).collect();
        if live.is_empty() {
            return;
        }
        let described = self.lab.describe("g").expect("somebody is in it");
        assert_eq!(described.state, GroupState::Stable);
        assert_eq!(described.members.len(), live.len(), "{described:?} {live:?}");
        for client in live {
            assert_eq!(client.step, Step::Stable, "{client:?}");
            assert_eq!(client.generation, self.clients.iter().find(|c| c.alive).expect("one").generation);
            let member = described.members.iter().find(|m| *m.member_id == *client.member_id).expect("a member");
            assert_eq!(client.assignment.as_deref().map(str::as_bytes), Some(&member.assignment[..]));
        }
        for token in std::mem::take(&mut self.deletes) {
            assert!(!self.lab.is_parked(token), "every command is answered");
        }
        self.check_commits();
        assert!(self.commits.is_empty(), "every commit is answered");
    }

    /// Nobody does anything any more: whatever state the group was in, it ends, and everybody who waited is told.
    fn fall_silent(&mut self) {
        self.lab.auto_commit = true;
        while self.lab.commit_one() {}
        self.lab.advance_ms(700_000);
        if let Ok(described) = self.lab.describe("g") {
            assert_eq!((described.state, described.members.len()), (GroupState::Empty, 0));
        }
        for client in &self.clients {
            if let Step::Joining(token) | Step::Syncing(token) = client.step {
                assert!(!self.lab.is_parked(token), "{client:?} waits for ever");
            }
        }
    }

    /// What is served is what the log says, before and after a restart.
    fn check_replay(&mut self) {
        let durable = Durable::of(&self.lab.log);
        let expected = durable.offsets.get(&(s("g"), s("t"), 0)).map_or(-1, |v| v.offset);
        assert_eq!(self.lab.committed("g", "t"), expected);
        let before = self.lab.describe("g");
        self.lab.restart();
        assert_eq!(self.lab.committed("g", "t"), expected);
        let after = self.lab.describe("g");
        if before.as_ref().is_ok_and(|d| d.state == GroupState::Stable) {
            assert_eq!(before, after);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_members_converge_and_replay_equals_live(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.converge();
        world.check_replay();
    }

    #[test]
    fn bug_kafka_12890_no_rebalance_is_stuck(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.fall_silent();
    }
}
