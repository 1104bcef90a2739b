//! ListGroups: every coordinator is asked; filters by state (KIP-518) and type (KIP-848).

use coretide_controller::names::CONSUMER_OFFSETS;
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_model::TopicPartition;
use coretide_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::group_wait::{code_of, wait_for};
use super::{Handled, Request};
use crate::shard::Shard;

/// The type of all groups that there are.
const CLASSIC: &str = "classic";

/// Decodes, asks all coordinators, answers with the groups that pass the filters. Before there is a coordinator there is
/// no group.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: ListGroupsRequest = request.decode()?;
    let partitions = match shard.image.topic_named(CONSUMER_OFFSETS) {
        None => Vec::new(),
        Some(topic) => {
            let all = (0..).take(topic.partitions.len());
            all.map(|partition| TopicPartition { topic_id: topic.id, partition }).collect()
        }
    };
    let replies = vec![Reply::ListGroups(Ok(Vec::new())); partitions.len()];
    let asks = partitions
        .into_iter()
        .zip(0u32..)
        .map(|(tp, place)| (place, (shard.owner(tp), tp.partition), Command::ListGroups))
        .collect();
    wait_for(shard, request, replies, asks, move |head, replies| head.encode(&response(&asked, replies)))
}

fn response(asked: &ListGroupsRequest, replies: Vec<Reply>) -> ListGroupsResponse {
    let is_in =
        |filter: &[String], name: &str| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(name));
    let mut groups = Vec::new();
    for reply in replies {
        let Reply::ListGroups(result) = reply else { unreachable!("a coordinator answers what it was asked") };
        match result {
            Ok(listed) => groups.extend(listed),
            // A coordinator that has just gone: its groups are listed by the next one.
            Err(GroupError::NotCoordinator) => {}
            Err(error) => {
                return ListGroupsResponse { error_code: code_of(Some(error)), ..ListGroupsResponse::default() };
            }
        }
    }
    let groups = groups
        .into_iter()
        .filter(|group| is_in(&asked.states_filter, group.state.name()) && is_in(&asked.types_filter, CLASSIC))
        .map(|group| ListedGroup {
            group_id: group.group.to_string(),
            protocol_type: group.protocol_type.to_string(),
            group_state: group.state.name().to_string(),
            group_type: CLASSIC.to_string(),
        });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use coretide_coordinator::command::{GroupState, ListedGroup as Listed};
    use coretide_wire::encode_response;

    fn reply(group: &str, state: GroupState) -> Reply {
        let listed = Listed { group: Arc::from(group), protocol_type: Arc::from("consumer"), state };
        Reply::ListGroups(Ok(vec![listed]))
    }

    #[test]
    fn filters_of_state_and_type() {
        let list = |states: &[&str], types: &[&str]| {
            let filter = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
            let asked = ListGroupsRequest { states_filter: filter(states), types_filter: filter(types) };
            let replies = vec![reply("a", GroupState::Stable), reply("b", GroupState::Empty)];
            let names: Vec<String> = response(&asked, replies).groups.into_iter().map(|g| g.group_id).collect();
            names.concat()
        };
        assert_eq!(list(&[], &[]), "ab");
        assert_eq!(list(&["stable"], &["Classic"]), "a");
        assert_eq!(list(&["PreparingRebalance", "Empty"], &[]), "b");
        assert_eq!(list(&[], &["consumer"]), "");
    }

    #[test]
    fn one_coordinator_that_is_loading_makes_the_list_incomplete_and_that_is_said() {
        let replies = vec![reply("a", GroupState::Stable), Reply::ListGroups(Err(GroupError::Loading))];
        let response = response(&ListGroupsRequest::default(), replies);
        assert_eq!((response.error_code, response.groups.len()), (14, 0));
        for version in 0..=5 {
            encode_response(&response, version, 1).expect("every version can say it");
        }
    }
}
