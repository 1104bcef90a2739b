//! Commits, fetches, deletions, expiry: protocol.md O1-O3.

use super::lab::*;
use crate::command::*;
use crate::{Effects, GroupConfig, GroupError, WriteError};
use coretide_model::TopicId;

const DAY_MS: u64 = 86_400_000;

#[test]
fn o1_who_may_commit() {
    let mut lab = Lab::new();
    let error = |lab: &mut Lab, generation, member: &str| {
        let token = lab.commit_as("g", generation, member, "t", 10);
        lab.commit_error(token)
    };
    assert_eq!(error(&mut lab, 3, "someone"), Some(GroupError::IllegalGeneration), "no such group");
    assert_eq!(error(&mut lab, -1, ""), None, "a simple group is made by its first commit");
    assert_eq!(lab.describe("g").expect("made").protocol_type.as_ref(), "");
    assert_eq!(error(&mut lab, 0, ""), Some(GroupError::UnknownMember), "0 is a generation");
    let ids = lab.stable_group("g", 1);
    assert_eq!(error(&mut lab, -1, ""), Some(GroupError::UnknownMember), "not while it has members");
    assert_eq!(error(&mut lab, 1, "someone"), Some(GroupError::UnknownMember));
    assert_eq!(error(&mut lab, 2, &ids[0]), Some(GroupError::IllegalGeneration));
    assert_eq!(error(&mut lab, 0, &ids[0]), Some(GroupError::IllegalGeneration));
    assert_eq!(
        error(&mut lab, -1, &ids[0]),
        Some(GroupError::IllegalGeneration),
        "who names a member names its generation"
    );
    assert_eq!(error(&mut lab, 1, &ids[0]), None);
}

#[test]
fn o1_long_metadata_is_refused_per_partition_and_counted_as_kafka_counts() {
    let mut lab = Lab::new();
    let mut request = commit("g", -1, "", "t", 1);
    let partition = |partition, metadata: String, refused| CommitPartition {
        partition,
        offset: 9,
        leader_epoch: -1,
        metadata: s(&metadata),
        refused,
    };
    request.topics[0].partitions = vec![
        partition(0, "x".repeat(4097), None),
        partition(1, "ü".repeat(4096), None),
        partition(2, "😀".repeat(2049), None),
        partition(3, String::new(), Some(GroupError::UnknownTopicOrPartition)),
    ];
    let Reply::OffsetCommit(topics) = lab.ask(Command::OffsetCommit(request)) else { panic!("a commit's answer") };
    let errors: Vec<_> = topics[0].1.iter().map(|p| p.error).collect();
    let too_large = Some(GroupError::OffsetMetadataTooLarge);
    assert_eq!(errors, [too_large, None, too_large, Some(GroupError::UnknownTopicOrPartition)]);
    assert_eq!(lab.log.len(), 1);
}

#[test]
fn c2_a_commit_is_answered_and_seen_only_when_durable() {
    let mut lab = Lab::new();
    lab.auto_commit = false;
    let token = lab.commit_as("g", -1, "", "t", 10);
    assert!(lab.is_parked(token));
    assert_eq!(lab.committed("g", "t"), -1);
    lab.commit_one();
    assert_eq!(lab.commit_error(token), None);
    assert_eq!(lab.committed("g", "t"), 10);
    for (error, told) in [
        (WriteError::Unavailable, GroupError::NotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::CommitTooLarge),
    ] {
        let token = lab.commit_as("g", -1, "", "t", 11);
        lab.fail_one(error);
        assert_eq!(lab.commit_error(token), Some(told));
        assert_eq!(lab.committed("g", "t"), 10, "nothing has happened");
    }
}

#[test]
fn o2_unknown_groups_and_partitions_are_no_error() {
    let mut lab = Lab::new();
    let fetch = |group: &str, topics| Command::OffsetFetch(OffsetFetch { group: s(group), topics });
    let none = |partition| FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: s("") };
    let asked = Some(vec![(s("t"), vec![0, 5])]);
    assert_eq!(lab.ask(fetch("g", asked.clone())), Reply::OffsetFetch(Ok(vec![(s("t"), vec![none(0), none(5)])])));
    assert_eq!(lab.ask(fetch("g", None)), Reply::OffsetFetch(Ok(vec![])));
    lab.commit_as("g", -1, "", "t", 7);
    let found = FetchedOffset { partition: 0, offset: 7, leader_epoch: 3, metadata: s("note") };
    assert_eq!(lab.ask(fetch("g", asked)), Reply::OffsetFetch(Ok(vec![(s("t"), vec![found.clone(), none(5)])])));
    assert_eq!(lab.ask(fetch("g", None)), Reply::OffsetFetch(Ok(vec![(s("t"), vec![found])])));
}

#[test]
fn offset_delete_spares_what_the_group_is_subscribed_to() {
    let mut lab = Lab::new();
    let delete = |group: &str, topics: &[&str]| {
        let result = PartitionResult { partition: 0, error: None };
        let topics = topics.iter().map(|topic| (s(topic), vec![result])).collect();
        Command::OffsetDelete(OffsetDelete { group: s(group), topics })
    };
    assert_eq!(lab.ask(delete("g", &["t"])), Reply::OffsetDelete(Err(GroupError::GroupNotFound)));
    for topic in ["t", "u"] {
        lab.commit_as("g", -1, "", topic, 7);
    }
    lab.stable_group("g", 1);
    let Reply::OffsetDelete(Ok(topics)) = lab.ask(delete("g", &["t", "u"])) else { panic!("per partition") };
    assert_eq!(topics[0].1[0].error, Some(GroupError::SubscribedToTopic));
    assert_eq!(topics[1].1[0].error, None);
    assert_eq!((lab.committed("g", "t"), lab.committed("g", "u")), (7, -1));

    let odd = Join { protocols: vec![Protocol { name: s("p"), metadata: "?".into() }], ..join("odd", "") };
    lab.join(&odd);
    lab.advance_ms(3_000);
    let Reply::OffsetDelete(Ok(topics)) = lab.ask(delete("odd", &["t"])) else { panic!("per partition") };
    assert_eq!(topics[0].1[0].error, Some(GroupError::SubscribedToTopic), "unreadable: could be any topic");

    lab.join(&Join { protocol_type: s("connect"), ..join("c", "") });
    assert_eq!(lab.ask(delete("c", &["t"])), Reply::OffsetDelete(Err(GroupError::NonEmptyGroup)));
}

#[test]
fn delete_groups_takes_everything_with_it_what_is_on_its_way_too() {
    let mut lab = Lab::new();
    let result = |lab: &mut Lab, token| match lab.answer(token) {
        Reply::DeleteGroup(result) => result,
        other => panic!("{other:?}"),
    };
    let token = lab.delete("g");
    assert_eq!(result(&mut lab, token), Err(GroupError::GroupNotFound));
    let ids = lab.stable_group("g", 1);
    let token = lab.delete("g");
    assert_eq!(result(&mut lab, token), Err(GroupError::NonEmptyGroup));
    lab.commit_as("g", 1, &ids[0], "t", 1);
    assert_eq!(lab.leave("g", &[(&ids[0], None)]), Ok(vec![None]));

    lab.auto_commit = false;
    let commit = lab.commit_as("g", -1, "", "u", 2);
    let token = lab.delete("g");
    let early = lab.join(&join("g", ""));
    assert_eq!(lab.join_reply(early).error, Some(GroupError::NotAvailable), "the client tries again");
    assert!(lab.is_parked(token));
    lab.commit_one();
    assert_eq!(lab.commit_error(commit), None);
    lab.fail_one(WriteError::Unavailable);
    assert_eq!(result(&mut lab, token), Err(GroupError::NotAvailable));
    assert_eq!((lab.committed("g", "t"), lab.committed("g", "u")), (1, 2), "nothing has happened");

    let commit = lab.commit_as("g", -1, "", "v", 3);
    let token = lab.delete("g");
    let twice = lab.delete("g");
    assert_eq!(result(&mut lab, twice), Err(GroupError::GroupNotFound), "it is as good as gone");
    let of_dead = Command::OffsetDelete(OffsetDelete { group: s("g"), topics: vec![] });
    assert_eq!(lab.ask(of_dead), Reply::OffsetDelete(Err(GroupError::GroupNotFound)));
    while lab.commit_one() {}
    assert_eq!((lab.commit_error(commit), result(&mut lab, token)), (None, Ok(())));
    assert_eq!(lab.describe("g"), Err(GroupError::GroupNotFound));
    assert_eq!(Durable::of(&lab.log), Durable::default());
    lab.restart();
    assert_eq!(lab.describe("g"), Err(GroupError::GroupNotFound));
}

#[test]
fn bug_kafka_13636_offsets_expire_from_the_moment_the_group_is_empty_never_before() {
    let mut lab = Lab::new();
    let ids = lab.stable_group("g", 1);
    lab.commit_as("g", 1, &ids[0], "t", 42);
    for _ in 0..10 * 24 * 400 {
        lab.advance_ms(9_000);
        assert_eq!(lab.heartbeat("g", 1, &ids[0]), Ok(()));
    }
    assert_eq!(lab.committed("g", "t"), 42, "KIP-211: ten days old, the group lives");
    lab.leave("g", &[(&ids[0], None)]).expect("left");
    lab.advance_ms(7 * DAY_MS - 1);
    assert_eq!(lab.committed("g", "t"), 42);
    lab.advance_ms(600_001);
    assert_eq!(lab.committed("g", "t"), -1);
    assert_eq!(lab.describe("g"), Err(GroupError::GroupNotFound));
    assert_eq!(Durable::of(&lab.log), Durable::default());
}

#[test]
fn o3_topics_that_a_stable_consumer_group_left_expire_by_commit_time() {
    let config = GroupConfig { offsets_retention_ms: 60_000, ..GroupConfig::default() };
    let mut lab = Lab::with(GroupConfig { offsets_retention_check_interval_ms: 1_000, ..config });
    for topic in ["t", "left"] {
        lab.commit_as("g", -1, "", topic, 5);
    }
    let ids = lab.stable_group("g", 1);
    for _ in 0..10 {
        lab.advance_ms(9_000);
        assert_eq!(lab.heartbeat("g", 1, &ids[0]), Ok(()));
    }
    assert_eq!((lab.committed("g", "t"), lab.committed("g", "left")), (5, -1));
}

#[test]
fn o3_an_explicit_retention_and_a_simple_group_count_from_the_commit() {
    let mut lab = Lab::new();
    let mut request = commit("g", -1, "", "short", 1);
    request.retention_ms = Some(DAY_MS as i64);
    lab.send(Command::OffsetCommit(request));
    lab.commit_as("g", -1, "", "usual", 2);
    lab.advance_ms(DAY_MS - 1);
    assert_eq!((lab.committed("g", "short"), lab.committed("g", "usual")), (1, 2));
    lab.advance_ms(600_001);
    assert_eq!((lab.committed("g", "short"), lab.committed("g", "usual")), (-1, 2));
    lab.advance_ms(5 * DAY_MS);
    lab.commit_as("g", -1, "", "usual", 3);
    lab.advance_ms(5 * DAY_MS);
    assert_eq!(lab.committed("g", "usual"), 3);
    lab.restart();
    lab.advance_ms(2 * DAY_MS + 600_000);
    assert_eq!(lab.committed("g", "usual"), -1, "a restart is no commit");
    assert_eq!(Durable::of(&lab.log), Durable::default());
}

#[test]
fn o3_only_empty_groups_that_nobody_is_about_to_join_go_and_they_go_for_good() {
    let mut lab = Lab::new();
    let gone = lab.stable_group("gone", 1);
    lab.leave("gone", &[(&gone[0], None)]).expect("left");
    let ids = lab.stable_group("live", 1);
    let new = Join { requires_known_member_id: true, session_timeout_ms: 1_800_000, ..join("soon", "") };
    let token = lab.join(&new);
    let id = lab.join_reply(token).member_id;
    for _ in 0..100 {
        lab.advance_ms(9_000);
        assert_eq!(lab.heartbeat("live", 1, &ids[0]), Ok(()), "it has no offsets, but a member");
    }
    assert_eq!(lab.describe("gone"), Err(GroupError::GroupNotFound));
    let stored = Durable::of(&lab.log);
    assert_eq!(stored.groups.keys().map(|id| &**id).collect::<Vec<_>>(), ["live"]);
    let token = lab.join(&Join { member_id: id, ..new });
    assert!(lab.is_parked(token), "its id is good for the session it asked for");
}

#[test]
fn o3_what_a_group_that_is_no_consumer_group_holds_stays_while_it_has_members() {
    let config = GroupConfig { offsets_retention_ms: 60_000, ..GroupConfig::default() };
    let mut lab = Lab::with(GroupConfig { offsets_retention_check_interval_ms: 1_000, ..config });
    let token = lab.join(&Join { protocol_type: s("connect"), session_timeout_ms: 600_000, ..join("c", "") });
    lab.advance_ms(3_000);
    let id = lab.join_reply(token).member_id.to_string();
    let sync = lab.sync("c", 1, &id, &[]);
    assert!(lab.assignment(sync).is_ok());
    lab.commit_as("c", 1, &id, "anything", 5);
    lab.advance_ms(120_000);
    assert_eq!(lab.committed("c", "anything"), 5);
}

#[test]
fn offset_delete_writes_only_what_takes_something_away() {
    let mut lab = Lab::new();
    let delete = |topics: &[(&str, i32)]| {
        let one = |partition| vec![PartitionResult { partition, error: None }];
        let topics = topics.iter().map(|(topic, partition)| (s(topic), one(*partition))).collect();
        Command::OffsetDelete(OffsetDelete { group: s("g"), topics })
    };
    lab.commit_as("g", -1, "", "there", 1);
    let before = lab.log.len();
    assert!(matches!(lab.ask(delete(&[("there", 5), ("nowhere", 0)])), Reply::OffsetDelete(Ok(_))));
    assert_eq!(lab.log.len(), before);
    lab.auto_commit = false;
    lab.commit_as("g", -1, "", "coming", 2);
    lab.commit_as("other", -1, "", "nowhere", 2);
    assert!(matches!(lab.ask(delete(&[("coming", 5), ("nowhere", 0)])), Reply::OffsetDelete(Ok(_))));
    assert_eq!(lab.waiting.len(), 2, "another group's offset is not this one's");
    lab.send(delete(&[("coming", 0)]));
    assert_eq!(lab.waiting.len(), 3, "it would stand behind the deletion else");
    while lab.commit_one() {}
    assert_eq!((lab.committed("g", "coming"), lab.committed("g", "there")), (-1, 1));
    lab.auto_commit = true;
    let gone = lab.stable_group("was", 1);
    lab.leave("was", &[(&gone[0], None)]).expect("left");
    lab.commit_as("was", -1, "", "t", 3);
    let of_was =
        OffsetDelete { group: s("was"), topics: vec![(s("t"), vec![PartitionResult { partition: 0, error: None }])] };
    let Reply::OffsetDelete(Ok(topics)) = lab.ask(Command::OffsetDelete(of_was)) else { panic!("per partition") };
    assert_eq!((topics[0].1[0].error, lab.committed("was", "t")), (None, -1), "nobody is subscribed any more");
}

#[test]
fn o3_offsets_of_deleted_and_of_recreated_topics_go() {
    let mut lab = Lab::new();
    for (topic, id) in [("kept", 1), ("deleted", 2), ("again", 3)] {
        let mut request = commit("g", -1, "", topic, 5);
        request.topics[0].topic_id = TopicId(id);
        lab.send(Command::OffsetCommit(request));
    }
    lab.auto_commit = false;
    let mut request = commit("g", -1, "", "deleted", 6);
    request.topics[0].topic_id = TopicId(2);
    lab.send(Command::OffsetCommit(request));
    let mut fx = Effects::default();
    let now = |name: &str| [("kept", TopicId(1)), ("again", TopicId(30))].iter().find(|(n, _)| *n == name).map(|n| n.1);
    lab.coordinator.retain_topics(lab.now, &now, &mut fx);
    lab.take(fx);
    while lab.commit_one() {}
    let left = ["kept", "deleted", "again"].map(|topic| lab.committed("g", topic));
    assert_eq!(left, [5, -1, -1]);
}

#[test]
fn listing_names_state_and_type() {
    let mut lab = Lab::new();
    lab.commit_as("simple", -1, "", "t", 1);
    lab.stable_group("live", 1);
    let Reply::ListGroups(Ok(mut groups)) = lab.ask(Command::ListGroups) else { panic!("a list") };
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    let seen: Vec<_> = groups.iter().map(|g| (&*g.group, &*g.protocol_type, g.state.name())).collect();
    assert_eq!(seen, [("live", "consumer", "Stable"), ("simple", "", "Empty")]);
    let live = lab.describe("live").expect("there");
    assert_eq!((&*live.protocol_data, &*live.members[0].client_id), ("range", "client"));
    assert!(!live.members[0].metadata.is_empty());
}
