//! Which response belongs to which request, and the newest version of each that this client speaks.
//! Must never touch: sockets.

use coretide_wire::messages::*;
use coretide_wire::{ApiKey, Message};

/// A request that this client sends.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
    /// Its API.
    const API: ApiKey;
    /// The newest version that this client speaks.
    const NEWEST: i16;
}

macro_rules! requests {
    ($($module:ident: $request:ident => $response:ident, $api:ident, $newest:expr;)*) => {
        $(impl Request for $module::$request {
            type Response = $module::$response;
            const API: ApiKey = ApiKey::$api;
            const NEWEST: i16 = $newest;
        })*
    };
}

// Produce and Fetch stop before version 13, OffsetCommit and OffsetFetch before 10: from there on topics have ids and
// no names, and this client speaks of topics by name.
requests! {
    api_versions: ApiVersionsRequest => ApiVersionsResponse, ApiVersions, 4;
    metadata: MetadataRequest => MetadataResponse, Metadata, 13;
    produce: ProduceRequest => ProduceResponse, Produce, 12;
    fetch: FetchRequest => FetchResponse, Fetch, 12;
    list_offsets: ListOffsetsRequest => ListOffsetsResponse, ListOffsets, 11;
    offset_commit: OffsetCommitRequest => OffsetCommitResponse, OffsetCommit, 9;
    offset_fetch: OffsetFetchRequest => OffsetFetchResponse, OffsetFetch, 9;
    find_coordinator: FindCoordinatorRequest => FindCoordinatorResponse, FindCoordinator, 6;
    join_group: JoinGroupRequest => JoinGroupResponse, JoinGroup, 9;
    heartbeat: HeartbeatRequest => HeartbeatResponse, Heartbeat, 4;
    leave_group: LeaveGroupRequest => LeaveGroupResponse, LeaveGroup, 5;
    sync_group: SyncGroupRequest => SyncGroupResponse, SyncGroup, 5;
    describe_groups: DescribeGroupsRequest => DescribeGroupsResponse, DescribeGroups, 6;
    list_groups: ListGroupsRequest => ListGroupsResponse, ListGroups, 5;
    delete_groups: DeleteGroupsRequest => DeleteGroupsResponse, DeleteGroups, 3;
    create_topics: CreateTopicsRequest => CreateTopicsResponse, CreateTopics, 7;
    delete_topics: DeleteTopicsRequest => DeleteTopicsResponse, DeleteTopics, 6;
    create_partitions: CreatePartitionsRequest => CreatePartitionsResponse, CreatePartitions, 3;
    delete_records: DeleteRecordsRequest => DeleteRecordsResponse, DeleteRecords, 2;
    init_producer_id: InitProducerIdRequest => InitProducerIdResponse, InitProducerId, 5;
    describe_configs: DescribeConfigsRequest => DescribeConfigsResponse, DescribeConfigs, 4;
    incremental_alter_configs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, IncrementalAlterConfigs, 1;
    describe_cluster: DescribeClusterRequest => DescribeClusterResponse, DescribeCluster, 2;
    offset_delete: OffsetDeleteRequest => OffsetDeleteResponse, OffsetDelete, 0;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, OffsetForLeaderEpoch, 4;
    describe_producers: DescribeProducersRequest => DescribeProducersResponse, DescribeProducers, 0;
    describe_log_dirs: DescribeLogDirsRequest => DescribeLogDirsResponse, DescribeLogDirs, 5;
    describe_topic_partitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, DescribeTopicPartitions, 0;
}
