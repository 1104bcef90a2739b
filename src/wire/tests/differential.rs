//! Our codec against the `kafka-protocol` crate, which derives from the same definitions (of Kafka 4.1) by another
//! hand: what we write, it reads; what it writes from that, we read back as what we started with.

use crate::arbitrary::{Arbitrary, any};
use bytes::{Bytes, BytesMut};
use coretide_stdx::prng::Prng;
use coretide_wire::{Message, Reader, messages};
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

const VALUES_PER_VERSION: u64 = 25;

fn agrees<Ours: Message + Arbitrary, Theirs: TheirMessage + Decodable + Encodable>() {
    let first = Ours::MIN_VERSION.max(Theirs::VERSIONS.min);
    let last = Ours::MAX_VERSION.min(Theirs::VERSIONS.max);
    assert!(first <= last, "{}: no version in common", Ours::NAME);
    for version in first..=last {
        for seed in 0..VALUES_PER_VERSION {
            let context = || format!("{} v{version} seed {seed}", Ours::NAME);
            let ours: Ours = any(&mut Prng::new(seed), version);
            let written = ours.to_bytes(version).unwrap();
            let theirs = Theirs::decode(&mut written.clone(), version).unwrap_or_else(|e| panic!("{}: {e}", context()));
            let mut rewritten = BytesMut::new();
            theirs.encode(&mut rewritten, version).unwrap_or_else(|e| panic!("{}: {e}", context()));
            let rewritten: Bytes = rewritten.freeze();
            let mut r = Reader::new(&rewritten);
            assert_eq!(Ours::decode(&mut r, version).as_ref(), Ok(&ours), "{}", context());
            assert_eq!(r.remaining(), 0, "{}", context());
        }
    }
}

macro_rules! agree {
    ($($module:ident: $($message:ident)*;)*) => {
        $(#[test]
        fn $module() {
            $(agrees::<messages::$module::$message, kafka_protocol::messages::$message>();)*
        })*
    };
}

agree! {
    produce: ProduceRequest ProduceResponse;
    fetch: FetchRequest FetchResponse;
    list_offsets: ListOffsetsRequest ListOffsetsResponse;
    metadata: MetadataRequest MetadataResponse;
    offset_commit: OffsetCommitRequest OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest OffsetFetchResponse;
    find_coordinator: FindCoordinatorRequest FindCoordinatorResponse;
    join_group: JoinGroupRequest JoinGroupResponse;
    heartbeat: HeartbeatRequest HeartbeatResponse;
    leave_group: LeaveGroupRequest LeaveGroupResponse;
    sync_group: SyncGroupRequest SyncGroupResponse;
    describe_groups: DescribeGroupsRequest DescribeGroupsResponse;
    list_groups: ListGroupsRequest ListGroupsResponse;
    sasl_handshake: SaslHandshakeRequest SaslHandshakeResponse;
    sasl_authenticate: SaslAuthenticateRequest SaslAuthenticateResponse;
    api_versions: ApiVersionsRequest ApiVersionsResponse;
    create_topics: CreateTopicsRequest CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest DeleteTopicsResponse;
    delete_records: DeleteRecordsRequest DeleteRecordsResponse;
    init_producer_id: InitProducerIdRequest InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    describe_configs: DescribeConfigsRequest DescribeConfigsResponse;
    alter_configs: AlterConfigsRequest AlterConfigsResponse;
    describe_log_dirs: DescribeLogDirsRequest DescribeLogDirsResponse;
    create_partitions: CreatePartitionsRequest CreatePartitionsResponse;
    delete_groups: DeleteGroupsRequest DeleteGroupsResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    list_partition_reassignments: ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    offset_delete: OffsetDeleteRequest OffsetDeleteResponse;
    describe_cluster: DescribeClusterRequest DescribeClusterResponse;
    describe_producers: DescribeProducersRequest DescribeProducersResponse;
    list_config_resources: ListConfigResourcesRequest ListConfigResourcesResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    records: ConsumerProtocolSubscription ConsumerProtocolAssignment;
}
