//! Starting, the cluster's state, stopping.

use coretide_wire::messages::api_versions::ApiVersionsRequest;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use coretide_wire::messages::produce::ProduceResponse;

use super::rig::{Rig, batch, produce, produced};
use crate::Event;

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
