//! Joins, syncs, sessions: protocol.md G1-G9.

use super::lab::*;
use crate::command::*;
use crate::{GroupConfig, GroupError, WriteError};
use std::sync::Arc;

#[test]
fn g1_first_rebalance_waits_and_each_join_extends_it_up_to_the_rebalance_timeout() {
    let mut lab = Lab::new();
    let first = lab.join(&Join { rebalance_timeout_ms: 8_000, ..join("g", "") });
    lab.advance_ms(2_000);
    let second = lab.join(&Join { rebalance_timeout_ms: 8_000, ..join("g", "") });
    lab.advance_ms(2_000);
    assert!(lab.is_parked(first), "the second join bought another delay");
    let third = lab.join(&Join { rebalance_timeout_ms: 8_000, ..join("g", "") });
    lab.advance_ms(3_900);
    assert!(lab.is_parked(first) && lab.is_parked(second));
    lab.advance_ms(200);
    let replies = [first, second, third].map(|t| lab.join_reply(t));
    assert!(replies.iter().all(|r| r.error.is_none() && r.generation == 1 && r.leader == replies[0].leader));
    let sizes: Vec<usize> = replies.iter().map(|r| r.members.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 3, "only the leader sees the members: {sizes:?}");
}

#[test]
fn bug_brod_465_join_v0_has_no_rebalance_timeout_and_must_not_spin() {
    let mut lab = Lab::new();
    let first = lab.join(&Join { rebalance_timeout_ms: -1, ..join("g", "") });
    lab.advance_ms(3_000);
    let id = lab.join_reply(first).member_id.to_string();
    let sync = lab.sync("g", 1, &id, &[(&id, "all")]);
    assert_eq!(lab.assignment(sync), Ok("all".into()));
    let second = lab.join(&Join { rebalance_timeout_ms: -1, ..join("g", "") });
    assert_eq!(lab.heartbeat("g", 1, &id), Err(GroupError::RebalanceInProgress));
    lab.advance_ms(9_900);
    assert!(lab.is_parked(second), "the old member has its session timeout to come back");
    assert_eq!(lab.heartbeat("g", 1, &id), Err(GroupError::RebalanceInProgress));
    lab.advance_ms(200);
    let reply = lab.join_reply(second);
    assert_eq!((reply.generation, reply.members.len()), (2, 1), "and is dropped after it: {reply:?}");
    assert_eq!(lab.heartbeat("g", 1, &id), Err(GroupError::UnknownMember));
}

#[test]
fn g2_kip_394_a_new_dynamic_member_gets_its_id_first_a_static_one_does_not() {
    let mut lab = Lab::new();
    let new = Join { requires_known_member_id: true, ..join("g", "") };
    let token = lab.join(&new);
    let reply = lab.join_reply(token);
    assert_eq!(reply.error, Some(GroupError::MemberIdRequired));
    let (prefix, uuid) = reply.member_id.split_at("client-".len());
    assert_eq!((prefix, uuid.len(), uuid.as_bytes()[14]), ("client-", 36, b'4'));
    let token = lab.join(&Join { member_id: reply.member_id.clone(), ..new.clone() });
    lab.advance_ms(3_000);
    assert_eq!(lab.join_reply(token).member_id, reply.member_id);

    let token = lab.join(&Join { requires_known_member_id: true, ..static_join("h", "", "i1") });
    lab.advance_ms(3_000);
    let reply = lab.join_reply(token);
    assert_eq!(reply.error, None);
    assert!(reply.member_id.starts_with("i1-"));
}

#[test]
fn g2_an_unused_member_id_holds_a_rebalance_no_longer_than_its_session() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 1);
    let pending = lab.join(&Join { requires_known_member_id: true, ..join("g", "") });
    assert_eq!(lab.join_reply(pending).error, Some(GroupError::MemberIdRequired));
    let again = lab.join(&join("g", &ids[0]));
    assert!(lab.is_parked(again), "the handed-out id is waited for");
    lab.advance_ms(10_000);
    assert_eq!(lab.join_reply(again).generation, 2);
}

#[test]
fn g3_refusals() {
    let mut lab = Lab::with(GroupConfig { max_size: 1, ..GroupConfig::default() });
    let error = |lab: &mut Lab, join: Join| {
        let token = lab.join(&join);
        lab.join_reply(token).error
    };
    let short = Join { session_timeout_ms: 5_999, ..join("g", "") };
    let long = Join { session_timeout_ms: 1_800_001, ..join("g", "") };
    assert_eq!(error(&mut lab, short), Some(GroupError::InvalidSessionTimeout));
    assert_eq!(error(&mut lab, long), Some(GroupError::InvalidSessionTimeout));
    assert_eq!(error(&mut lab, join("", "")), Some(GroupError::InvalidGroupId));
    assert_eq!(error(&mut lab, join("g", "never-seen")), Some(GroupError::UnknownMember));
    assert_eq!(error(&mut lab, Join { protocols: vec![], ..join("g", "") }), Some(GroupError::InconsistentProtocol));
    assert_eq!(lab.describe("g"), Err(GroupError::GroupNotFound), "a refused join leaves nothing");
    let ids = lab.stable_group("g", 1);
    let other_type = Join { protocol_type: s("connect"), ..join("g", &ids[0]) };
    assert_eq!(error(&mut lab, other_type), Some(GroupError::InconsistentProtocol));
    assert_eq!(error(&mut lab, join("g", "")), Some(GroupError::GroupFull));
    assert_eq!(error(&mut lab, join("g", "stranger")), Some(GroupError::GroupFull));
    assert_eq!(lab.heartbeat("g", 1, "stranger"), Err(GroupError::UnknownMember));
    assert_eq!(lab.heartbeat("g", 2, &ids[0]), Err(GroupError::IllegalGeneration));
    assert_eq!(lab.heartbeat("nobody", 2, &ids[0]), Err(GroupError::UnknownMember));
    assert_eq!(lab.heartbeat("g", 1, &ids[0]), Ok(()));
}

#[test]
fn bug_kafka_9844_the_group_never_grows_over_its_size_however_many_join_at_once() {
    let mut lab = Lab::with(GroupConfig { max_size: 2, ..GroupConfig::default() });
    let tokens: Vec<Token> = (0..5).map(|_| lab.join(&join("g", ""))).collect();
    lab.advance_ms(6_000);
    let errors: Vec<_> = tokens.into_iter().map(|t| lab.join_reply(t).error).collect();
    assert_eq!(
        errors,
        [None, None, Some(GroupError::GroupFull), Some(GroupError::GroupFull), Some(GroupError::GroupFull)]
    );
    let ids: Vec<_> = lab.describe("g").expect("there").members.into_iter().map(|m| m.member_id.to_string()).collect();
    let again = ids.iter().map(|id| lab.join(&join("g", id))).collect::<Vec<_>>();
    let late = lab.join(&join("g", ""));
    assert_eq!(lab.join_reply(late).error, Some(GroupError::GroupFull), "members keep their places in a rebalance");
    assert!(again.into_iter().all(|t| lab.join_reply(t).error.is_none()));
}

#[test]
fn g4_most_votes_among_the_common_protocols_win() {
    let mut lab = Lab::new();
    let offers = [&["c", "a", "b"][..], &["b", "a"], &["a", "b", "d"], &["b", "a", "d"]];
    let tokens = offers.map(|names| {
        let protocols = names.iter().map(|name| protocol(name, &["t"])).collect();
        lab.join(&Join { protocols, ..join("g", "") })
    });
    lab.advance_ms(6_000);
    for token in tokens {
        let reply = lab.join_reply(token);
        assert!(matches!(reply.protocol_name.as_deref(), Some("a" | "b")), "{reply:?}");
        assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    }
    let odd = lab.join(&Join { protocols: vec![protocol("d", &["t"])], ..join("g", "") });
    assert_eq!(lab.join_reply(odd).error, Some(GroupError::InconsistentProtocol));
}

#[test]
fn g4_leader_rejoin_rebalances_an_unchanged_follower_gets_the_generation_back() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    let follower = lab.join(&join("g", &ids[1]));
    let reply = lab.join_reply(follower);
    assert_eq!((reply.error, reply.generation, reply.members.len()), (None, 1, 0));
    assert_eq!(lab.state("g"), GroupState::Stable);

    let changed = Join { protocols: vec![protocol("range", &["t", "u"])], ..join("g", &ids[1]) };
    let token = lab.join(&changed);
    assert!(lab.is_parked(token));
    let leader = lab.join(&join("g", &ids[0]));
    assert_eq!((lab.join_reply(token).generation, lab.join_reply(leader).generation), (2, 2));
    let again = lab.join(&join("g", &ids[0]));
    assert_eq!(lab.join_reply(again).members.len(), 2, "a lost answer is repeated");

    let syncs = [lab.sync("g", 2, &ids[0], &[(&ids[0], "x"), (&ids[1], "y")]), lab.sync("g", 2, &ids[1], &[])];
    assert_eq!(syncs.map(|t| lab.assignment(t)), [Ok("x".into()), Ok("y".into())]);
    let leader = lab.join(&join("g", &ids[0]));
    assert!(lab.is_parked(leader), "the leader's join always rebalances");
    assert_eq!(lab.state("g"), GroupState::PreparingRebalance);
}

#[test]
fn g5_a_rebalance_is_told_at_once_to_heartbeats_and_syncs() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    let newcomer = lab.join(&join("g", ""));
    assert_eq!(lab.heartbeat("g", 1, &ids[0]), Err(GroupError::RebalanceInProgress));
    let sync = lab.sync("g", 1, &ids[1], &[]);
    assert_eq!(lab.assignment(sync), Err(GroupError::RebalanceInProgress));
    let commit = lab.commit_as("g", 1, &ids[1], "t", 5);
    assert_eq!(lab.commit_error(commit), None, "commits still go through, or revoking would lose offsets");
    let tokens = [&ids[0], &ids[1]].map(|id| lab.join(&join("g", id)));
    assert_eq!(tokens.map(|t| lab.join_reply(t).generation), [2, 2]);
    assert_eq!(lab.join_reply(newcomer).generation, 2);
    let waiting = lab.sync("g", 2, &ids[1], &[]);
    assert!(lab.is_parked(waiting), "a sync waits for the leader");
    let commit = lab.commit_as("g", 2, &ids[1], "t", 6);
    assert_eq!(lab.commit_error(commit), Some(GroupError::RebalanceInProgress));
    let other = lab.join(&join("g", ""));
    assert_eq!(lab.assignment(waiting), Err(GroupError::RebalanceInProgress), "the next rebalance frees it");
    assert!(lab.is_parked(other));
}

#[test]
fn g5_members_that_never_sync_and_members_that_are_silent_are_dropped() {
    let mut lab = Lab::new();
    let tokens = [0, 1].map(|_| lab.join(&Join { session_timeout_ms: 100_000, ..join("g", "") }));
    lab.advance_ms(6_000);
    let replies = tokens.map(|t| lab.join_reply(t));
    let leader = replies[0].leader.to_string();
    let sync = lab.sync("g", 1, &leader, &[]);
    assert_eq!(lab.assignment(sync), Ok(String::new()));
    for _ in 0..6 {
        lab.advance_ms(9_900);
        assert_eq!(lab.heartbeat("g", 1, &leader), Ok(()));
    }
    lab.advance_ms(700);
    assert_eq!(lab.heartbeat("g", 1, &leader), Err(GroupError::RebalanceInProgress), "the other one never synced");
    let again = lab.join(&join("g", &leader));
    let reply = lab.join_reply(again);
    assert_eq!((reply.generation, reply.members.len()), (2, 1));
    let sync = lab.sync("g", 2, &leader, &[(&leader, "all")]);
    assert_eq!(lab.assignment(sync), Ok("all".into()));
    lab.advance_ms(9_999);
    assert_eq!(lab.state("g"), GroupState::Stable);
    lab.advance_ms(1);
    assert_eq!(lab.state("g"), GroupState::Empty, "a session is its timeout long, not longer");
}

#[test]
fn g5_any_request_counts_as_a_heartbeat() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 1);
    for round in 0..4 {
        lab.advance_ms(9_000);
        let token = match round % 2 {
            0 => lab.commit_as("g", 1, &ids[0], "t", round),
            _ => lab.sync("g", 1, &ids[0], &[]),
        };
        assert!(!lab.is_parked(token));
    }
    assert_eq!(lab.state("g"), GroupState::Stable);
}

#[test]
fn g6_a_static_member_comes_back_without_a_rebalance_and_fences_its_old_id() {
    for skip in [false, true] {
        let mut lab = Lab::new();
        let tokens = ["i1", "i2"].map(|i| lab.join(&static_join("g", "", i)));
        lab.advance_ms(6_000);
        let replies = tokens.map(|t| lab.join_reply(t));
        let plan: Vec<(&str, &str)> = replies.iter().map(|r| &*r.member_id).zip(["one", "two"]).collect();
        let leader = replies[0].leader.clone();
        let leader_instance =
            replies.iter().position(|r| r.member_id == leader).map(|n| ["i1", "i2"][n]).expect("known");
        let sync = lab.sync("g", 1, &leader, &plan);
        assert!(lab.assignment(sync).is_ok());

        lab.auto_commit = false;
        let back = Join { supports_skip_assignment: skip, ..static_join("g", "", leader_instance) };
        let token = lab.join(&back);
        assert!(lab.is_parked(token), "the new id must be durable before it is told");
        lab.commit_one();
        let reply = lab.join_reply(token);
        assert_eq!((reply.error, reply.generation, reply.skip_assignment), (None, 1, skip));
        assert_ne!(reply.member_id, leader);
        if skip {
            assert_eq!((reply.leader, reply.members.len()), (reply.member_id.clone(), 2), "KIP-814");
        } else {
            assert_eq!((reply.leader, reply.members.len()), (leader.clone(), 0), "an old client must not assign");
        }
        assert_eq!(lab.state("g"), GroupState::Stable);
        let new = Heartbeat {
            group: s("g"),
            generation: 1,
            member_id: reply.member_id.clone(),
            group_instance_id: Some(s(leader_instance)),
        };
        assert_eq!(lab.ask(Command::Heartbeat(new)), Reply::Heartbeat(Ok(())));
        let sync = lab.sync("g", 1, &reply.member_id, &[]);
        let expected = if leader_instance == "i1" { "one" } else { "two" };
        assert_eq!(lab.assignment(sync), Ok(expected.into()), "its assignment is kept");

        let old = Heartbeat {
            group: s("g"),
            generation: 1,
            member_id: leader.clone(),
            group_instance_id: Some(s(leader_instance)),
        };
        assert_eq!(lab.ask(Command::Heartbeat(old)), Reply::Heartbeat(Err(GroupError::FencedInstance)));
        let mut old = commit("g", 1, &leader, "t", 1);
        old.group_instance_id = Some(s(leader_instance));
        let token = lab.send(Command::OffsetCommit(old));
        assert_eq!(lab.commit_error(token), Some(GroupError::FencedInstance));
        let token = lab.join(&static_join("g", &leader, leader_instance));
        assert_eq!(lab.join_reply(token).error, Some(GroupError::FencedInstance));
        assert_eq!(lab.leave("g", &[(&leader, Some(leader_instance))]), Ok(vec![Some(GroupError::FencedInstance)]));
        assert_eq!(lab.leave("g", &[("", Some("i9"))]), Ok(vec![Some(GroupError::UnknownMember)]));
        assert_eq!(lab.leave("g", &[("", Some(leader_instance))]), Ok(vec![None]), "an administrator may remove it");
    }
}

#[test]
fn g6_a_static_member_with_other_metadata_rebalances_and_a_lost_one_ends_with_its_session() {
    let mut lab = Lab::new();
    let token = lab.join(&static_join("g", "", "i1"));
    lab.advance_ms(3_000);
    let id = lab.join_reply(token).member_id;
    let sync = lab.sync("g", 1, &id, &[(&id, "all")]);
    assert!(lab.assignment(sync).is_ok());
    let other = Join { protocols: vec![protocol("sticky", &["t"])], ..static_join("g", "", "i1") };
    let token = lab.join(&other);
    assert_eq!(lab.join_reply(token).error, Some(GroupError::InconsistentProtocol), "as in Kafka: no common protocol");
    let both = Join { protocols: vec![protocol("sticky", &["t"]), protocol("range", &["t"])], ..other };
    let token = lab.join(&both);
    assert_eq!(lab.join_reply(token).generation, 2, "the choice would change");
    lab.advance_ms(10_000);
    assert_eq!(lab.state("g"), GroupState::Empty);
}

#[test]
fn g6_a_static_members_new_id_that_cannot_be_stored_is_taken_back() {
    let mut lab = Lab::new();
    let token = lab.join(&static_join("g", "", "i1"));
    lab.advance_ms(3_000);
    let id = lab.join_reply(token).member_id;
    let sync = lab.sync("g", 1, &id, &[(&id, "all")]);
    assert!(lab.assignment(sync).is_ok());
    lab.auto_commit = false;
    let token = lab.join(&static_join("g", "", "i1"));
    lab.fail_one(WriteError::NotLeader);
    assert_eq!(lab.join_reply(token).error, Some(GroupError::NotCoordinator));
    assert_eq!(lab.heartbeat("g", 1, &id), Ok(()), "the old id is the member");
    let token = lab.sync("g", 1, &id, &[]);
    assert_eq!(lab.assignment(token), Ok("all".into()));
}

#[test]
fn g7_leaving_rebalances_at_once_and_the_last_one_leaves_an_empty_group_with_its_offsets() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    let commit = lab.commit_as("g", 1, &ids[0], "t", 42);
    assert_eq!(lab.commit_error(commit), None);
    assert_eq!(lab.leave("g", &[("stranger", None), (&ids[0], None)]), Ok(vec![Some(GroupError::UnknownMember), None]));
    assert_eq!(lab.heartbeat("g", 1, &ids[1]), Err(GroupError::RebalanceInProgress));
    let again = lab.join(&join("g", &ids[1]));
    let reply = lab.join_reply(again);
    assert_eq!((reply.generation, reply.members.len(), &*reply.leader), (2, 1, &*ids[1]));
    assert_eq!(lab.leave("g", &[(&ids[1], None)]), Ok(vec![None]));
    assert_eq!(lab.state("g"), GroupState::Empty);
    assert_eq!(lab.committed("g", "t"), 42);
    assert_eq!(lab.leave("g", &[(&ids[1], None)]), Ok(vec![Some(GroupError::UnknownMember)]));
    assert_eq!(lab.leave("nobody", &[("x", None)]), Ok(vec![Some(GroupError::UnknownMember)]), "as Kafka 4.3.1");
    assert_eq!(lab.leave("", &[("x", None)]), Err(GroupError::InvalidGroupId));
}

#[test]
fn g9_many_concurrent_members_converge() {
    const MEMBERS: usize = 200;
    let mut lab = Lab::new();
    let new = Join { requires_known_member_id: true, ..join("g", "") };
    let mut ids: Vec<Arc<str>> = Vec::new();
    for _ in 0..MEMBERS {
        let token = lab.join(&new);
        ids.push(lab.join_reply(token).member_id);
    }
    let tokens: Vec<Token> = ids.iter().map(|id| lab.join(&join("g", id))).collect();
    lab.advance_ms(60_000);
    let replies: Vec<JoinReply> = tokens.into_iter().map(|t| lab.join_reply(t)).collect();
    assert!(replies.iter().all(|r| r.error.is_none() && r.generation == 1));
    assert_eq!(replies.iter().map(|r| r.members.len()).max(), Some(MEMBERS));
}

#[test]
fn bug_kafka_15784_an_assignment_that_is_not_stored_reaches_nobody() {
    for (error, told) in [
        (WriteError::Unavailable, GroupError::NotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::GroupTooLarge),
    ] {
        let mut lab = Lab::new();
        let tokens = [0, 1].map(|_| lab.join(&join("g", "")));
        lab.advance_ms(6_000);
        let replies = tokens.map(|t| lab.join_reply(t));
        let leader = replies[0].leader.to_string();
        let follower = replies.iter().find(|r| *r.member_id != *leader).expect("two").member_id.to_string();
        lab.auto_commit = false;
        let syncs = [lab.sync("g", 1, &follower, &[]), lab.sync("g", 1, &leader, &[(&leader, "all")])];
        assert!(syncs.iter().all(|t| lab.is_parked(*t)), "nothing is told before it is durable");
        lab.fail_one(error);
        assert_eq!(syncs.map(|t| lab.assignment(t)), [Err(told), Err(told)]);
        assert_eq!(lab.state("g"), GroupState::PreparingRebalance);
        let rejoined = [&leader, &follower].map(|id| lab.join(&join("g", id)));
        assert_eq!(rejoined.map(|t| lab.join_reply(t).generation), [2, 2], "the group tries again");
    }
}

#[test]
fn an_assignment_that_becomes_durable_after_its_generation_has_passed_is_nobodys() {
    let mut lab = Lab::new();
    let token = lab.join(&join("g", ""));
    lab.advance_ms(3_000);
    let id = lab.join_reply(token).member_id.to_string();
    lab.auto_commit = false;
    let sync = lab.sync("g", 1, &id, &[(&id, "old")]);
    let newcomer = lab.join(&join("g", ""));
    assert_eq!(lab.assignment(sync), Err(GroupError::RebalanceInProgress));
    let again = lab.join(&join("g", &id));
    assert_eq!((lab.join_reply(again).generation, lab.join_reply(newcomer).generation), (2, 2));
    lab.commit_one();
    assert_eq!(lab.state("g"), GroupState::CompletingRebalance);
    let sync = lab.sync("g", 2, &id, &[(&id, "new")]);
    lab.commit_one();
    assert_eq!(lab.assignment(sync), Ok("new".into()));
}

#[test]
fn a_coordinator_that_goes_answers_who_waits() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    let joining = lab.join(&join("g", &ids[0]));
    let first = lab.join(&join("other", ""));
    let mut fx = crate::Effects::default();
    lab.coordinator.release_parked(&mut fx);
    lab.take(fx);
    for token in [joining, first] {
        assert_eq!(lab.join_reply(token).error, Some(GroupError::NotCoordinator));
    }
    assert_eq!(lab.heartbeat("g", 1, &ids[1]), Err(GroupError::RebalanceInProgress), "the group itself goes on");
    lab.advance_ms(70_000);
    assert_eq!(lab.state("g"), GroupState::Empty);
}

#[test]
fn a_second_join_or_sync_of_the_same_member_frees_the_first() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    let first = lab.join(&join("g", &ids[0]));
    let second = lab.join(&join("g", &ids[0]));
    assert_eq!(lab.join_reply(first).error, Some(GroupError::RebalanceInProgress));
    let other = lab.join(&join("g", &ids[1]));
    assert_eq!((lab.join_reply(second).generation, lab.join_reply(other).generation), (2, 2));
    let follower = if lab.describe("g").expect("there").members.len() == 2 { &ids[1] } else { unreachable!() };
    let first = lab.sync("g", 2, follower, &[]);
    let second = lab.sync("g", 2, follower, &[]);
    assert_eq!(lab.assignment(first), Err(GroupError::RebalanceInProgress));
    assert!(lab.is_parked(second));
}

/// A stable group of one static member, `i1`; returns its id.
fn stable_static(lab: &mut Lab, join: &Join) -> String {
    let token = lab.join(join);
    lab.advance_ms(3_000);
    let reply = lab.join_reply(token);
    let id = reply.member_id.to_string();
    let sync = lab.sync("g", reply.generation, &id, &[(&id, "all")]);
    assert!(lab.assignment(sync).is_ok());
    id
}

#[test]
fn g4_votes_outweigh_the_leaders_own_preference() {
    let mut lab = Lab::new();
    let tokens = [["a", "b"], ["b", "a"], ["b", "a"]].map(|names| {
        let protocols = names.iter().map(|name| protocol(name, &["t"])).collect();
        lab.join(&Join { protocols, ..join("g", "") })
    });
    lab.advance_ms(6_000);
    let replies = tokens.map(|token| lab.join_reply(token));
    assert_eq!(replies[0].leader, replies[0].member_id);
    assert!(replies.iter().all(|reply| reply.protocol_name.as_deref() == Some("b")), "{replies:?}");
}

#[test]
fn g4_while_all_have_left_but_one_is_expected_the_group_keeps_its_type() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 1);
    let new = Join { requires_known_member_id: true, ..join("g", "") };
    let token = lab.join(&new);
    let expected = lab.join_reply(token).member_id;
    assert_eq!(lab.leave("g", &[(&ids[0], None)]), Ok(vec![None]));
    assert_eq!(lab.state("g"), GroupState::PreparingRebalance);
    let token = lab.join(&Join { protocol_type: s("connect"), ..join("g", "") });
    assert_eq!(lab.join_reply(token).error, Some(GroupError::InconsistentProtocol));
    let token = lab.join(&Join { member_id: expected, ..new });
    assert_eq!(lab.join_reply(token).generation, 2);
}

#[test]
fn g4_other_protocols_before_the_leader_has_synced_rebalance() {
    let mut lab = Lab::new();
    let tokens = [0, 1].map(|_| lab.join(&join("g", "")));
    lab.advance_ms(6_000);
    let ids = tokens.map(|token| lab.join_reply(token).member_id);
    let token = lab.join(&join("g", &ids[1]));
    assert_eq!(lab.join_reply(token).generation, 1, "a lost answer is repeated");
    let token = lab.join(&Join { protocols: vec![protocol("range", &["u"])], ..join("g", &ids[1]) });
    assert!(lab.is_parked(token));
    assert_eq!(lab.state("g"), GroupState::PreparingRebalance);
}

#[test]
fn what_the_members_of_a_group_may_hold_together_is_limited_to_the_byte() {
    use crate::config::GROUP_PROTOCOLS_MAX_BYTES;
    let mut lab = Lab::new();
    let large = |member_id: &str, bytes: usize| {
        let metadata = bytes::Bytes::from(vec![0; bytes - "range".len()]);
        Join { protocols: vec![Protocol { name: s("range"), metadata }], ..join("g", member_id) }
    };
    let most = GROUP_PROTOCOLS_MAX_BYTES;
    let first = lab.join(&large("", most - 1000));
    let second = lab.join(&large("", 1001));
    assert_eq!(lab.join_reply(second).error, Some(GroupError::GroupFull));
    let second = lab.join(&large("", 1000));
    lab.advance_ms(6_000);
    let ids = [first, second].map(|token| lab.join_reply(token).member_id);
    let again = lab.join(&large(&ids[0], most - 1000));
    assert_eq!(lab.join_reply(again).error, None, "what it holds already is not counted twice");
    let more = lab.join(&large(&ids[0], most - 999));
    assert_eq!(lab.join_reply(more).error, Some(GroupError::GroupFull));
    let changed = lab.join(&large(&ids[1], 900));
    assert!(lab.is_parked(changed));
    let more = lab.join(&large(&ids[0], most - 900));
    assert_eq!(lab.join_reply(more).error, None, "the other one holds less now");
}

#[test]
fn g5_a_rebalance_timeout_of_zero_leaves_no_time_to_sync() {
    let mut lab = Lab::new();
    let token = lab.join(&Join { rebalance_timeout_ms: 0, ..join("g", "") });
    lab.advance_ms(3_000);
    let reply = lab.join_reply(token);
    assert_eq!(reply.generation, 1);
    assert_eq!(lab.heartbeat("g", 1, &reply.member_id), Err(GroupError::UnknownMember), "0 is not -1");
}

#[test]
fn g1_a_rebalance_that_ends_early_shortens_no_later_one() {
    let mut lab = Lab::new();
    let patient = |member_id: &str| Join { session_timeout_ms: 600_000, ..join("g", member_id) };
    let tokens = [0, 1].map(|_| lab.join(&patient("")));
    lab.advance_ms(6_000);
    let replies = tokens.map(|token| lab.join_reply(token));
    let leader = replies[0].leader.to_string();
    let follower = replies.iter().find(|reply| *reply.member_id != *leader).expect("two").member_id.to_string();
    let syncs = [lab.sync("g", 1, &follower, &[]), lab.sync("g", 1, &leader, &[])];
    assert!(syncs.into_iter().all(|token| lab.assignment(token).is_ok()));
    let tokens = [lab.join(&patient(&leader)), lab.join(&patient(&follower))];
    assert_eq!(tokens.map(|token| lab.join_reply(token).generation), [2, 2]);
    lab.advance_ms(30_000);
    let newcomer = lab.join(&patient(""));
    let again = lab.join(&patient(&leader));
    lab.advance_ms(59_000);
    assert!(lab.is_parked(newcomer) && lab.is_parked(again), "the follower has a minute to come back");
    let last = lab.join(&patient(&follower));
    assert_eq!([newcomer, again, last].map(|token| lab.join_reply(token).generation), [3, 3, 3]);
    lab.advance_ms(59_000);
    assert_eq!(lab.heartbeat("g", 3, &follower), Ok(()), "and a minute to sync");
    lab.advance_ms(1_000);
    assert_eq!(lab.heartbeat("g", 3, &follower), Err(GroupError::UnknownMember));
}

#[test]
fn nothing_is_due_for_who_has_left() {
    let mut lab = Lab::new();
    let before = lab.coordinator.next_deadline_us();
    let ids = lab.stable_group("g", 1);
    assert_ne!(lab.coordinator.next_deadline_us(), before);
    lab.leave("g", &[(&ids[0], None)]).expect("left");
    assert_eq!(lab.coordinator.next_deadline_us(), before, "only the search for what has expired");
}

#[test]
fn g6_who_came_back_is_known_by_what_it_says_now() {
    let mut lab = Lab::new();
    stable_static(&mut lab, &static_join("g", "", "i1"));
    let moved = Join {
        client_id: s("other"),
        client_host: s("/10.0.0.9"),
        rebalance_timeout_ms: 90_000,
        session_timeout_ms: 100_000,
        ..static_join("g", "", "i1")
    };
    let token = lab.join(&moved);
    let id = lab.join_reply(token).member_id;
    let described = lab.describe("g").expect("there").members.remove(0);
    assert_eq!((&*described.client_id, &*described.client_host), ("other", "/10.0.0.9"));
    let stored = Durable::of(&lab.log);
    let stored = &stored.groups["g"].members[0];
    assert_eq!((stored.rebalance_timeout_ms, stored.session_timeout_ms), (90_000, 100_000));
    lab.advance_ms(99_999);
    assert_eq!(lab.state("g"), GroupState::Stable);
    let newcomer = lab.join(&join("g", ""));
    let beat = Heartbeat { group: s("g"), generation: 1, member_id: id, group_instance_id: Some(s("i1")) };
    assert_eq!(lab.ask(Command::Heartbeat(beat)), Reply::Heartbeat(Err(GroupError::RebalanceInProgress)));
    lab.advance_ms(80_000);
    assert!(lab.is_parked(newcomer), "the other one has 90 seconds to come back");
    lab.advance_ms(10_000);
    assert!(!lab.is_parked(newcomer));
}

#[test]
fn g6_a_rebalance_that_begins_meanwhile_answers_who_came_back_itself() {
    let mut lab = Lab::new();
    let tokens = [lab.join(&static_join("g", "", "i1")), lab.join(&join("g", ""))];
    lab.advance_ms(6_000);
    let replies = tokens.map(|token| lab.join_reply(token));
    let other = replies[1].member_id.to_string();
    let syncs = replies.each_ref().map(|reply| lab.sync("g", 1, &reply.member_id, &[]));
    assert!(syncs.into_iter().all(|token| lab.assignment(token).is_ok()));
    lab.auto_commit = false;
    let back = lab.join(&static_join("g", "", "i1"));
    let newcomer = lab.join(&join("g", ""));
    lab.commit_one();
    assert!(lab.is_parked(back), "generation 1 is over");
    let again = lab.join(&join("g", &other));
    assert_eq!([back, newcomer, again].map(|token| lab.join_reply(token).generation), [2, 2, 2]);
}

#[test]
fn g6_who_came_back_twice_and_was_not_stored_waits_for_nothing() {
    let mut lab = Lab::new();
    stable_static(&mut lab, &static_join("g", "", "i1"));
    lab.auto_commit = false;
    let first = lab.join(&static_join("g", "", "i1"));
    let second = lab.join(&static_join("g", "", "i1"));
    assert_eq!(lab.join_reply(first).error, Some(GroupError::FencedInstance));
    lab.fail_one(WriteError::Unavailable);
    lab.fail_one(WriteError::Unavailable);
    assert_eq!(lab.join_reply(second).error, Some(GroupError::NotAvailable));
    let newcomer = lab.join(&join("g", ""));
    assert!(lab.is_parked(newcomer), "the static member has not come back yet");
}

#[test]
fn g6_while_no_static_member_comes_back_the_generation_stays() {
    let mut lab = Lab::new();
    let lasting = Join { session_timeout_ms: 1_000_000, ..static_join("g", "", "i1") };
    let tokens = [lab.join(&lasting), lab.join(&join("g", ""))];
    lab.advance_ms(6_000);
    let replies = tokens.map(|token| lab.join_reply(token));
    assert_eq!(lab.leave("g", &[(&replies[1].member_id, None)]), Ok(vec![None]));
    lab.advance_ms(200_000);
    assert_eq!(lab.state("g"), GroupState::PreparingRebalance);
    let beat = Heartbeat {
        group: s("g"),
        generation: 1,
        member_id: replies[0].member_id.clone(),
        group_instance_id: Some(s("i1")),
    };
    assert_eq!(lab.ask(Command::Heartbeat(beat)), Reply::Heartbeat(Err(GroupError::RebalanceInProgress)));
}

#[test]
fn kip_559_a_sync_that_names_another_protocol_is_refused() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 1);
    for (protocol_type, protocol_name, error) in [
        (Some("consumer"), Some("range"), None),
        (Some("connect"), Some("range"), Some(GroupError::InconsistentProtocol)),
        (Some("consumer"), Some("sticky"), Some(GroupError::InconsistentProtocol)),
        (None, Some("sticky"), Some(GroupError::InconsistentProtocol)),
    ] {
        let reply = lab.ask(Command::Sync(Sync {
            group: s("g"),
            generation: 1,
            member_id: s(&ids[0]),
            group_instance_id: None,
            protocol_type: protocol_type.map(s),
            protocol_name: protocol_name.map(s),
            assignments: vec![],
        }));
        let Reply::Sync(result) = reply else { panic!("{reply:?}") };
        assert_eq!(result.err(), error, "{protocol_type:?} {protocol_name:?}");
    }
}

#[test]
fn an_assignment_that_fails_after_its_generation_has_passed_disturbs_nobody() {
    let mut lab = Lab::new();
    let token = lab.join(&join("g", ""));
    lab.advance_ms(3_000);
    let id = lab.join_reply(token).member_id.to_string();
    lab.auto_commit = false;
    lab.sync("g", 1, &id, &[(&id, "old")]);
    let newcomer = lab.join(&join("g", ""));
    let again = lab.join(&join("g", &id));
    assert_eq!((lab.join_reply(again).generation, lab.join_reply(newcomer).generation), (2, 2));
    lab.fail_one(WriteError::Unavailable);
    assert_eq!(lab.state("g"), GroupState::CompletingRebalance);
}
