//! Restarts and dumps: protocol.md O4, reliability.md C5.

use super::lab::*;
use crate::command::*;
use crate::config::DUMP_AFTER_RECORDS_MIN;
use crate::record::{GroupValue, MemberValue};
use crate::{Effects, GroupConfig, GroupCoordinator, GroupError, Record};
use bytes::Bytes;
use std::sync::Arc;

#[test]
fn nothing_is_served_before_the_log_is_read() {
    let mut lab = Lab::new();
    lab.coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
    assert!(!lab.coordinator.is_loaded());
    let token = lab.join(&join("g", ""));
    let reply = lab.join_reply(token);
    assert_eq!((reply.error, reply.generation), (Some(GroupError::Loading), -1));
    let token = lab.commit_as("g", -1, "", "t", 1);
    assert_eq!(lab.commit_error(token), Some(GroupError::Loading));
    assert_eq!(lab.heartbeat("g", 1, "m"), Err(GroupError::Loading));
    assert_eq!(lab.describe("g"), Err(GroupError::Loading));
    lab.restart();
    assert!(lab.coordinator.is_loaded());
}

#[test]
fn a_long_log_that_was_read_at_the_start_is_rewritten_too() {
    let mut lab = Lab::new();
    lab.commit_as("g", -1, "", "t", 7);
    lab.log = vec![lab.log[0].clone(); DUMP_AFTER_RECORDS_MIN as usize + 1];
    lab.restart();
    lab.commit_as("g", -1, "", "t", 8);
    assert!(lab.log_start > 0, "the log's start has moved");
    assert_eq!(Durable::of(&lab.log[lab.log_start as usize..]), Durable::of(&lab.log));
}

#[test]
fn a_group_that_is_larger_than_it_may_be_after_a_restart_rebalances() {
    for (max_size, state) in [(2, GroupState::PreparingRebalance), (3, GroupState::Stable), (4, GroupState::Stable)] {
        let mut lab = Lab::new();
        lab.stable_group("g", 3);
        lab.coordinator = GroupCoordinator::new(GroupConfig { max_size, ..GroupConfig::default() }, 9);
        for record in &lab.log {
            lab.coordinator.replay(lab.now, record);
        }
        let mut fx = Effects::default();
        lab.coordinator.finish_load(lab.now, &mut fx);
        lab.take(fx);
        assert_eq!(lab.state("g"), state, "{max_size}");
    }
}

#[test]
fn o4_a_restart_keeps_members_generation_assignments_and_offsets() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 3);
    lab.commit_as("g", 1, &ids[0], "t", 42);
    let before = lab.describe("g");
    lab.restart();
    assert_eq!(lab.describe("g"), before);
    assert_eq!(lab.committed("g", "t"), 42);
    for id in &ids {
        assert_eq!(lab.heartbeat("g", 1, id), Ok(()), "no rebalance is needed");
    }
    let sync = lab.sync("g", 1, &ids[2], &[]);
    assert_eq!(lab.assignment(sync), Ok("a2".into()));
    lab.advance_ms(10_000);
    assert_eq!(lab.state("g"), GroupState::Empty, "sessions run again");
}

#[test]
fn bug_kafka_17306_replay_survives_any_order_and_unknown_tombstones() {
    let offset = Record::Offset { group: s("g"), topic: s("t"), partition: 0, value: None };
    let group = Record::Group { group: s("g"), value: None };
    let member = |id: &str| MemberValue {
        member_id: s(id),
        group_instance_id: Some(s("same")),
        client_id: s("c"),
        client_host: s("h"),
        rebalance_timeout_ms: -1,
        session_timeout_ms: -5,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    let odd = Record::Group {
        group: s("odd"),
        value: Some(Arc::new(GroupValue {
            protocol_type: s(""),
            generation: i32::MAX,
            protocol: None,
            leader: Some(s("nobody")),
            current_state_timestamp_ms: -1,
            members: vec![member("m"), member("m"), member("n")],
        })),
    };
    let mut lab = Lab::new();
    lab.log = vec![offset.clone(), group.clone(), odd, offset, group];
    lab.restart();
    assert_eq!(lab.describe("g"), Err(GroupError::GroupNotFound));
    lab.advance_ms(1_000);
    assert_eq!(lab.state("odd"), GroupState::Empty, "members with a nonsense session are dropped");
    let token = lab.join(&join("odd", ""));
    lab.advance_ms(6_000);
    assert_eq!(lab.join_reply(token).error, None);
}

#[test]
fn a_long_log_is_rewritten_and_begins_at_the_dump() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 2);
    for group in 0..700 {
        lab.commit_as(&format!("group-{group:04}"), -1, "", &"topic".repeat(60), 1);
    }
    for n in 0..DUMP_AFTER_RECORDS_MIN as i64 * 3 {
        lab.commit_as("g", 1, &ids[0], "t", n);
        if n % 1000 == 0 {
            assert_eq!(lab.heartbeat("g", 1, &ids[1]), Ok(()));
        }
    }
    assert!(lab.log_start > 0, "the log's start has moved");
    let kept = lab.log.len() as i64 - lab.log_start;
    assert!(kept < 2 * DUMP_AFTER_RECORDS_MIN as i64, "{kept} records are kept");
    assert_eq!(Durable::of(&lab.log[lab.log_start as usize..]), Durable::of(&lab.log));
}

#[test]
fn a_dump_carries_what_is_on_its_way_and_is_given_up_when_a_write_fails() {
    for fail in [false, true] {
        let mut lab = Lab::new();
        lab.auto_commit = false;
        let mut n = 0;
        while lab.waiting.len() < 3 {
            lab.commit_as("g", -1, "", "t", n);
            lab.commit_as("h", -1, "", "t", n);
            n += 1;
            if lab.log.len() as u64 + 2 <= DUMP_AFTER_RECORDS_MIN {
                while lab.commit_one() {}
            }
        }
        if fail {
            assert!(lab.fail_one(crate::WriteError::TooLarge));
        }
        while lab.commit_one() {}
        let from = lab.log_start as usize;
        assert!(from > 0, "the log's start has moved");
        assert_eq!(Durable::of(&lab.log[from..]), Durable::of(&lab.log));
        let newest = lab.committed("h", "t");
        assert_eq!(newest, n - 1);
        lab.restart();
        assert_eq!(lab.committed("h", "t"), newest);
    }
}

#[test]
fn a_log_of_nothing_but_the_dead_is_left_until_something_lives() {
    let mut lab = Lab::new();
    lab.commit_as("g", -1, "", "t", 7);
    let value = lab.log[0].clone();
    let tombstone = Record::Offset { group: s("g"), topic: s("t"), partition: 0, value: None };
    lab.log = vec![value; DUMP_AFTER_RECORDS_MIN as usize];
    lab.log.push(tombstone);
    lab.restart();
    assert_eq!(lab.log_start, 0, "no record could mark the new start");
    lab.commit_as("h", -1, "", "t", 8);
    assert!(lab.log_start > 0);
    assert_eq!(Durable::of(&lab.log[lab.log_start as usize..]), Durable::of(&lab.log));
}

#[test]
fn only_records_make_the_log_long_and_a_dump_begins_when_there_are_more_than_enough() {
    let mut lab = Lab::new();
    lab.commit_as("g", -1, "", "t", 7);
    for n in 0..=DUMP_AFTER_RECORDS_MIN as i32 {
        assert_eq!(lab.heartbeat("nobody", n, "m"), Err(GroupError::UnknownMember));
    }
    assert_eq!((lab.log.len(), lab.log_start), (1, 0));
    lab.log = vec![lab.log[0].clone(); DUMP_AFTER_RECORDS_MIN as usize - 1];
    lab.restart();
    lab.commit_as("g", -1, "", "t", 8);
    assert_eq!(lab.log_start, 0);
    lab.commit_as("g", -1, "", "t", 9);
    assert!(lab.log_start > 0);
}

#[test]
fn a_dump_goes_out_in_chunks_and_what_it_wrote_counts_for_the_next_one() {
    const GROUPS: usize = 1500;
    let mut lab = Lab::new();
    for group in 0..GROUPS {
        lab.commit_as(&format!("group-{group:04}"), -1, "", &"topic".repeat(60), 1);
    }
    lab.log = (0..DUMP_AFTER_RECORDS_MIN as usize + 1).map(|n| lab.log[n % GROUPS].clone()).collect();
    lab.auto_commit = false;
    lab.restart();
    let on_its_way: usize = lab.waiting.iter().map(|write| write.records.len()).sum();
    assert!((500..1000).contains(&on_its_way), "{on_its_way} records are one chunk");
    while lab.commit_one() {}
    let first = DUMP_AFTER_RECORDS_MIN as i64 + 1;
    assert_eq!((lab.log_start, lab.log.len()), (first, first as usize + GROUPS));
    lab.auto_commit = true;
    while lab.log.len() as i64 - first < DUMP_AFTER_RECORDS_MIN as i64 {
        lab.commit_as("group-0000", -1, "", &"topic".repeat(60), 2);
    }
    assert_eq!(lab.log_start, first);
    lab.commit_as("group-0000", -1, "", &"topic".repeat(60), 3);
    assert!(lab.log_start > first);
}

#[test]
fn parts_of_a_dump_that_was_given_up_do_not_count_for_the_next_one() {
    let mut lab = Lab::new();
    lab.commit_as("g", -1, "", "t", 7);
    lab.log = vec![lab.log[0].clone(); DUMP_AFTER_RECORDS_MIN as usize];
    lab.restart();
    lab.auto_commit = false;
    lab.commit_as("g", -1, "", "t", 8);
    lab.commit_one();
    let token = lab.commit_as("h", -1, "", "t", 1);
    assert!(lab.waiting.iter().is_sorted_by(|a, b| a.id < b.id), "later writes have larger ids");
    lab.fail_newest(crate::WriteError::Unavailable);
    assert_eq!(lab.commit_error(token), Some(GroupError::NotAvailable));
    assert_eq!(lab.waiting.len(), 2, "the part of the first dump, and that of the second");
    lab.commit_one();
    assert_eq!(lab.log_start, 0);
    let second = lab.log.len() as i64;
    lab.commit_one();
    assert_eq!(lab.log_start, second);
}

#[test]
fn groups_that_are_there_go_on_when_no_more_are_taken() {
    let mut lab = Lab::new();
    lab.coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
    let value = {
        let mut other = Lab::new();
        other.commit_as("g", -1, "", "t", 7);
        let Record::Offset { value, .. } = other.log[0].clone() else { panic!("an offset") };
        value
    };
    for n in 0..crate::config::GROUPS_MAX {
        let group = Arc::from(n.to_string());
        lab.coordinator.replay(lab.now, &Record::Offset { group, topic: s("t"), partition: 0, value: value.clone() });
    }
    let mut fx = Effects::default();
    lab.coordinator.finish_load(lab.now, &mut fx);
    let joined = lab.join(&join("new", ""));
    assert_eq!(lab.join_reply(joined).error, Some(GroupError::NotAvailable));
    let committed = lab.commit_as("new", -1, "", "t", 1);
    assert_eq!(lab.commit_error(committed), Some(GroupError::NotAvailable));
    let joined = lab.join(&join("7", ""));
    assert!(lab.is_parked(joined));
    let committed = lab.commit_as("8", -1, "", "t", 1);
    assert_eq!(lab.commit_error(committed), None);
}
