//! The error codes of any response, wherever they are in it.

use coretide_wire::Message;
use coretide_wire::api::ApiKey;
use coretide_wire::messages as m;

use super::Answer;

/// Every error code in the response; bytes that are no such response are an error.
pub fn error_codes(answer: &Answer) -> Result<Vec<i16>, String> {
    if answer.key == ApiKey::Fetch {
        // Not by its text: that would hold every byte of the records.
        let response: m::fetch::FetchResponse = answer.read()?;
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        return Ok(partitions.map(|data| data.error_code).chain([response.error_code]).collect());
    }
    if answer.key == ApiKey::DescribeConfigs {
        // Nor these: some hundreds of configs.
        let response: m::describe_configs::DescribeConfigsResponse = answer.read()?;
        return Ok(response.results.iter().map(|result| result.error_code).collect());
    }
    let text = match answer.key {
        ApiKey::Produce => text::<m::produce::ProduceResponse>(answer),
        ApiKey::ListOffsets => text::<m::list_offsets::ListOffsetsResponse>(answer),
        ApiKey::Metadata => text::<m::metadata::MetadataResponse>(answer),
        ApiKey::OffsetCommit => text::<m::offset_commit::OffsetCommitResponse>(answer),
        ApiKey::OffsetFetch => text::<m::offset_fetch::OffsetFetchResponse>(answer),
        ApiKey::FindCoordinator => text::<m::find_coordinator::FindCoordinatorResponse>(answer),
        ApiKey::JoinGroup => text::<m::join_group::JoinGroupResponse>(answer),
        ApiKey::Heartbeat => text::<m::heartbeat::HeartbeatResponse>(answer),
        ApiKey::LeaveGroup => text::<m::leave_group::LeaveGroupResponse>(answer),
        ApiKey::SyncGroup => text::<m::sync_group::SyncGroupResponse>(answer),
        ApiKey::DescribeGroups => text::<m::describe_groups::DescribeGroupsResponse>(answer),
        ApiKey::ListGroups => text::<m::list_groups::ListGroupsResponse>(answer),
        ApiKey::ApiVersions => text::<m::api_versions::ApiVersionsResponse>(answer),
        ApiKey::CreateTopics => text::<m::create_topics::CreateTopicsResponse>(answer),
        ApiKey::DeleteTopics => text::<m::delete_topics::DeleteTopicsResponse>(answer),
        ApiKey::DeleteRecords => text::<m::delete_records::DeleteRecordsResponse>(answer),
        ApiKey::InitProducerId => text::<m::init_producer_id::InitProducerIdResponse>(answer),
        ApiKey::OffsetForLeaderEpoch => text::<m::offset_for_leader_epoch::OffsetForLeaderEpochResponse>(answer),
        ApiKey::AlterConfigs => text::<m::alter_configs::AlterConfigsResponse>(answer),
        ApiKey::DescribeLogDirs => text::<m::describe_log_dirs::DescribeLogDirsResponse>(answer),
        ApiKey::CreatePartitions => text::<m::create_partitions::CreatePartitionsResponse>(answer),
        ApiKey::DeleteGroups => text::<m::delete_groups::DeleteGroupsResponse>(answer),
        ApiKey::IncrementalAlterConfigs => {
            text::<m::incremental_alter_configs::IncrementalAlterConfigsResponse>(answer)
        }
        ApiKey::ListPartitionReassignments => {
            text::<m::list_partition_reassignments::ListPartitionReassignmentsResponse>(answer)
        }
        ApiKey::OffsetDelete => text::<m::offset_delete::OffsetDeleteResponse>(answer),
        ApiKey::DescribeCluster => text::<m::describe_cluster::DescribeClusterResponse>(answer),
        ApiKey::DescribeProducers => text::<m::describe_producers::DescribeProducersResponse>(answer),
        ApiKey::ListConfigResources => text::<m::list_config_resources::ListConfigResourcesResponse>(answer),
        ApiKey::DescribeTopicPartitions => {
            text::<m::describe_topic_partitions::DescribeTopicPartitionsResponse>(answer)
        }
        other => Err(format!("W: nobody here asks for {other:?}")),
    }?;
    let number = |after: &str| {
        let end = after.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(after.len());
        after[..end].parse().ok()
    };
    Ok(text.split("error_code: ").skip(1).filter_map(number).collect())
}

fn text<M: Message + std::fmt::Debug>(answer: &Answer) -> Result<String, String> {
    Ok(format!("{:?}", answer.read::<M>()?))
}
