//! DeleteGroups: wire to commands and back.

use std::sync::Arc;

use coretide_coordinator::{Command, Reply};
use coretide_wire::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::group_wait::{GroupAsk, ask_groups, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// Decodes, asks the coordinators, answers when the deletions are durable. A group that is named twice is deleted once.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DeleteGroupsRequest = request.decode()?;
    let mut seen = std::collections::BTreeSet::new();
    let names: Vec<Arc<str>> =
        asked.groups_names.into_iter().map(Arc::from).filter(|name: &Arc<str>| seen.insert(name.clone())).collect();
    let asks = names.iter().map(|group| {
        let command = Command::DeleteGroup { group: group.clone() };
        GroupAsk { group: group.clone(), command }
    });
    let asks = asks.collect();
    ask_groups(shard, request, asks, move |head, replies| {
        let results = names.iter().zip(replies).map(|(group, reply)| {
            let Reply::DeleteGroup(result) = reply else { unreachable!("a coordinator answers what it was asked") };
            let error = result.err();
            DeletableGroupResult {
                group_id: group.to_string(),
                error_code: code_of(error),
                error_message: error.map(|error| error.to_string()),
            }
        });
        head.encode(&DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() })
    })
}
