//! ListPartitionReassignments: with one broker nothing ever moves. `kafka-topics --describe` always asks.

use super::{Handled, Request};
use crate::shard::Shard;
use coretide_wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

/// Decodes, answers.
pub(crate) fn handle(_shard: &mut Shard, request: &Request) -> Handled {
    let _: ListPartitionReassignmentsRequest = request.decode()?;
    request.answer(&answer())
}

/// The answer to every request: no reassignment is going on.
pub(crate) fn answer() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
