//! Starting, the cluster's state, stopping.

use coretide_log::batch::walk_batches;
use coretide_log::timestamps::batch_records;
use coretide_metrics::ShardMetrics;
use coretide_model::TopicPartition;
use coretide_wire::messages::api_versions::ApiVersionsRequest;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use coretide_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use coretide_wire::messages::produce::ProduceResponse;

use super::rig::{Rig, batch, produce, produced, sequenced};
use crate::{Event, placement};

#[test]
fn created_means_known_on_every_shard() {
    let mut rig = Rig::new(3);
    let id = rig.create("t", 5, &[("retention.ms", "77")]);
    for shard in &rig.shards {
        let topic = shard.image.topic(id).unwrap();
        assert_eq!((topic.partitions.len(), topic.config.retention_ms), (5, 77));
    }
    let owned: usize = rig.shards.iter().map(|shard| shard.logs.sizes().len()).sum();
    assert_eq!(owned, 5 + 1, "each partition has one owner, and the metadata log is on shard 0");
}

#[test]
fn a_stop_finishes_what_is_in_progress_and_answers_what_only_waits() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let (writer, reader, idle) = (rig.open(0), rig.open(1), rig.open(1));
    let far = rig.owned_by(topic, 1);
    let waits = FetchRequest {
        max_wait_ms: 60_000,
        min_bytes: 1,
        max_bytes: 1000,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition { partition_max_bytes: 1000, ..Default::default() }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    };
    rig.send(reader, 12, &waits);
    rig.hold_io = true;
    rig.send(writer, 9, &produce("t", -1, &[(far, batch(&[b"a"]))]));
    rig.event(0, Event::Stop);
    rig.event(1, Event::Stop);
    let answered: FetchResponse = rig.receive(reader);
    assert_eq!(answered.responses.len(), 1);
    assert!(!rig.stopped[0] && !rig.stopped[1], "an append is in progress");
    rig.release_io();
    let response: ProduceResponse = rig.receive(writer);
    assert_eq!(produced(&response), [(far, 0, 0)]);
    assert_eq!(rig.stopped, [true, true]);
    assert!([writer, reader, idle].iter().all(|conn| rig.conns[conn].closed));
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    rig.hold_mail = true;
    rig.hold_io = true;
    rig.send(conn, 9, &produce("t", -1, &[(0, batch(&[b"a"]))]));
    rig.event(0, Event::Stop);
    rig.event(1, Event::Stop);
    assert!(!rig.conns[&conn].closed);
    rig.advance_ms(6000);
    assert!(rig.conns[&conn].closed, "the grace is over");
    rig.release_mail();
    rig.release_io();
    assert_eq!(rig.stopped, [true, true]);
}

#[test]
fn nobody_is_let_in_after_the_stop() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let (busy, conn) = (rig.open(0), rig.open(0));
    rig.hold_io = true;
    rig.send(busy, 9, &produce("t", -1, &[(0, batch(&[b"a"]))]));
    rig.event(0, Event::Stop);
    assert!(rig.conns[&conn].paused && rig.conns[&busy].paused);
    rig.send(conn, 0, &ApiVersionsRequest::default());
    assert_eq!(rig.waiting(conn), 0, "a frame that was on its way is not begun");
    let late = rig.open(0);
    assert!(rig.conns[&late].closed);
}

/// What a consumer sees of all partitions from the start: the values, in order.
fn read_all(rig: &mut Rig, topic: &str, partitions: i32) -> Vec<Vec<Vec<u8>>> {
    let conn = rig.open(0);
    let mut all = Vec::new();
    for index in 0..partitions {
        let mut values = Vec::new();
        loop {
            let part = FetchPartition {
                partition: index,
                fetch_offset: values.len() as i64,
                partition_max_bytes: 300_000,
                ..Default::default()
            };
            let request = FetchRequest {
                min_bytes: 1,
                max_bytes: 1 << 20,
                session_epoch: -1,
                topics: vec![FetchTopic { topic: topic.into(), partitions: vec![part], ..Default::default() }],
                ..FetchRequest::default()
            };
            let response: FetchResponse = rig.call(conn, 12, &request);
            let part = &response.responses[0].partitions[0];
            assert_eq!(part.error_code, 0);
            let records = part.records.clone().unwrap_or_default();
            if records.is_empty() {
                assert_eq!(part.high_watermark, values.len() as i64);
                break;
            }
            let mut scratch = Vec::new();
            for (position, header) in walk_batches(&records) {
                assert_eq!(header.base_offset, values.len() as i64);
                let (_, records) = batch_records(&records[position..], &mut scratch).unwrap();
                values.extend(records.map(|record| record.unwrap().value.unwrap().to_vec()));
            }
        }
        all.push(values);
    }
    all
}

#[test]
fn l1_what_was_acked_survives_the_process_whatever_the_number_of_shards() {
    for (before, after) in [(2, 2), (2, 3), (3, 1)] {
        let mut rig = Rig::new(before);
        rig.create("t", 4, &[]);
        rig.create("gone", 2, &[]);
        let conn = rig.open(0);
        for round in 0..10u8 {
            let parts: Vec<_> = (0..4).map(|index| (index, sequenced(9, 0, i32::from(round), &[&[round]]))).collect();
            let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts));
            assert!(produced(&response).iter().all(|(_, error, _)| *error == 0));
        }
        let topics = vec![coretide_controller::TopicRef::Name("gone".into())];
        rig.command(coretide_controller::Command::DeleteTopics { topics });
        rig.hold_io = true;
        rig.send(conn, 9, &produce("t", -1, &[(0, batch(&[b"never acked"]))]));
        let mut rig = rig.restart(after, &[]);
        assert!(rig.shards.iter().all(|shard| shard.image.topic_named("gone").is_none()));
        let expected: Vec<Vec<u8>> = (0..10u8).map(|round| vec![round]).collect();
        assert_eq!(read_all(&mut rig, "t", 4), vec![expected; 4]);
        let conn = rig.open(0);
        let again = |sequence: u8| produce("t", -1, &[(1, sequenced(9, 0, i32::from(sequence), &[&[sequence]]))]);
        let response: ProduceResponse = rig.call(conn, 9, &again(9));
        assert_eq!(produced(&response), [(1, 0, 9)], "I4: a duplicate from before is still known");
        let response: ProduceResponse = rig.call(conn, 9, &again(10));
        assert_eq!(produced(&response), [(1, 0, 10)]);
    }
}

#[test]
fn producer_ids_are_not_given_twice_in_two_lives() {
    let mut rig = Rig::new(2);
    let ask = |rig: &mut Rig| {
        let conn = rig.open(1);
        let response: InitProducerIdResponse = rig.call(conn, 4, &InitProducerIdRequest::default());
        response.producer_id
    };
    let first = ask(&mut rig);
    let mut rig = rig.restart(2, &[]);
    assert_ne!(ask(&mut rig), first, "I6");
}

#[test]
fn old_data_comes_from_disk_by_file_range_or_by_reading() {
    for (mode, counter) in [("splice", "file"), ("direct", "cold")] {
        let settings = [("coretide.fetch.cold.mode", mode), ("coretide.shard.cache.bytes", "1048576")];
        let mut rig = Rig::with(2, &settings);
        rig.create("t", 2, &[("segment.bytes", "2097152")]);
        let conn = rig.open(0);
        let value = |number: u8| vec![number; 100_000];
        for number in 0..80u8 {
            let parts = [0, 1].map(|index| (index, batch(&[&value(number)])));
            let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts));
            assert!(produced(&response).iter().all(|(_, error, _)| *error == 0));
        }
        let mut rig = rig.restart(2, &settings);
        let expected: Vec<Vec<u8>> = (0..80).map(value).collect();
        // What was never looked at since the start is read, whatever the mode; a second reader may have the file.
        for _ in 0..2 {
            assert!(read_all(&mut rig, "t", 2) == vec![expected.clone(); 2], "{mode}");
        }
        let total =
            |count: fn(&ShardMetrics) -> u64| rig.shards.iter().map(|shard| count(shard.metrics())).sum::<u64>();
        let (file, cold) = (total(|m| m.bytes_file), total(|m| m.bytes_cold));
        let (served, least) = if counter == "file" { (file, 6_000_000) } else { (cold, 16_000_000) };
        assert!(
            served > least && (counter == "cold" || cold > 16_000_000 - file),
            "{mode}: {file} from files, {cold} read"
        );
    }
}

#[test]
fn a_clean_stop_leaves_everything_for_the_next_start() {
    let mut rig = Rig::new(2);
    rig.create("t", 3, &[]);
    let conn = rig.open(1);
    for number in 0..5u8 {
        let parts: Vec<_> = (0..3).map(|index| (index, batch(&[&[number], &[number]]))).collect();
        let _: ProduceResponse = rig.call(conn, 9, &produce("t", 1, &parts));
    }
    rig.event(0, Event::Stop);
    rig.event(1, Event::Stop);
    assert_eq!(rig.stopped, [true, true]);
    let mut rig = rig.restart(2, &[]);
    let expected: Vec<Vec<u8>> = (0..10u8).map(|place| vec![place / 2]).collect();
    assert_eq!(read_all(&mut rig, "t", 3), vec![expected; 3]);
}

/// Records of a partition as they lie in its segments, and the base offsets of its batches.
fn batches_in(files: &[(String, bytes::Bytes)]) -> Vec<i64> {
    let logs = files.iter().filter(|(path, _)| path.ends_with(".log"));
    logs.flat_map(|(_, bytes)| walk_batches(bytes).map(|(_, header)| header.base_offset).collect::<Vec<_>>()).collect()
}

/// The metadata of topics was lost with both checkpoints and the journal of shard 0, and the start removed the folders
/// of the partitions that it did not know any more.
#[test]
fn bug_ours_a_start_that_knows_too_little_sets_records_aside_and_removes_none() {
    let mut rig = Rig::new(2);
    for number in 0..80 {
        rig.create(&format!("early-{number}"), 1, &[]);
    }
    // The start writes the whole blocks of the metadata log to its segment.
    let mut rig = rig.restart(2, &[]);
    let conn = rig.open(0);
    let late = rig.create("late", 40, &[]);
    let index = rig.owned_by(late, 1);
    let owner = |partition| placement::owner(TopicPartition { topic_id: late, partition }, 2).0;
    let small = (index + 1..40).find(|partition| owner(*partition) == 1).unwrap();
    for number in 0..20u8 {
        let parts = [(index, batch(&[&vec![number; 9000]])), (small, batch(&[b"small"]))];
        let response: ProduceResponse =
            rig.call(conn, 9, &produce("late", -1, &parts[..if number < 3 { 2 } else { 1 }]));
        assert!(produced(&response).iter().all(|(_, error, _)| *error == 0));
    }
    rig.disk.lose("shard-0/");
    let mut rig = rig.restart(2, &[]);
    assert!(rig.shards[0].image.topic_named("late").is_none(), "what the test is about");
    assert!(rig.shards[0].image.topic_named("early-1").is_some());
    let told = |rig: &Rig| rig.notices.iter().filter(|notice| notice.text.contains("set aside")).count();
    assert!(told(&rig) >= 2, "{:?}", rig.notices);
    let kept = |rig: &Rig, index: i32| batches_in(&rig.disk.files(&format!("late-{index}.{late}-stray/")));
    assert_eq!(kept(&rig, index), (0..20).collect::<Vec<_>>(), "all, also what had not been in its segment");
    assert_eq!(kept(&rig, small), [0, 1, 2], "a log that had no folder yet");
    // The next topic of that name has nothing to do with it.
    rig.create("late", 40, &[]);
    let conn = rig.open(0);
    let parts: Vec<_> = (0..40).map(|index| (index, batch(&[&vec![1; 9000]]))).collect();
    let response: ProduceResponse = rig.call(conn, 9, &produce("late", -1, &parts));
    assert!(produced(&response).iter().all(|(_, error, base)| (*error, *base) == (0, 0)));
    let rig = rig.restart(1, &[]);
    assert_eq!((kept(&rig, index).len(), kept(&rig, small).len(), told(&rig)), (20, 3, 0), "once, and for good");
}

#[test]
fn logs_of_a_topic_whose_deletion_is_durable_go_with_the_next_start() {
    let mut rig = Rig::new(2);
    let id = rig.create("going", 4, &[]);
    let conn = rig.open(0);
    let parts: Vec<_> = (0..4).map(|index| (index, batch(&[&vec![1; 9000]]))).collect();
    let response: ProduceResponse = rig.call(conn, 9, &produce("going", -1, &parts));
    assert!(produced(&response).iter().all(|(_, error, _)| *error == 0));
    let mut rig = rig.restart(2, &[]);
    assert!(!rig.disk.files("going-").is_empty());
    // Nobody else hears of it before the process dies.
    rig.hold_mail = true;
    let topics = vec![coretide_controller::TopicRef::Id(id)];
    rig.command(coretide_controller::Command::DeleteTopics { topics });
    let rig = rig.restart(2, &[]);
    assert_eq!(rig.disk.files("going-"), []);
    assert_eq!(rig.notices, []);
}
