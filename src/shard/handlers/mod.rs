//! One file per API: wire → command → wire. How a handler plugs in:
//!
//! ```text
//!   fn handle(shard: &mut Shard, request: &Request) -> Handled
//!       request.answer(&response)             answered at once
//!       let id = shard.wait(request.head, deadline_us, Box::new(MyWait { .. }));   parked; ask with the id, then
//!       Ok(Outcome::Later)                    answered later by `MyWait`
//!       Ok(Outcome::Close)                    the connection ends, without a response
//!       Err(fault)                            same; `?` on DecodeError and EncodeError makes it
//!   and one line in `route`.
//! ```
//!
//! - `Request` is one request: `request.head` (connection, place in line, API, version, correlation id: small, `Copy`, to be
//!   kept while waiting), the frame, `request.decode::<M>()`, `request.client_id()`, `request.peer`.
//! - The state of this shard is in `Shard`: `shard.now`, `shard.config`, `shard.image` (topics, configurations: what is
//!   durable and applied here), `shard.metrics`.
//! - To ask another shard (or this one: the path is the same), park first, then ask with the id that came back:
//!   ```text
//!   let id = shard.wait(request.head, deadline_us, Box::new(MyWait { left: 2, .. }));
//!   shard.ask(CONTROLLER_SHARD, id, place, Ask::Controller(command));
//!   shard.ask(shard.owner(tp), id, place, Ask::Group { partition, command });
//!   Ok(Outcome::Later)
//!   ```
//!   Each ask is answered exactly once: `Waiting::on_answer(shard, head, place, answer)`, with the `place` given above, so
//!   several may be under way. It returns `Outcome::Later` while more is to come. Answers to a request that is over (its
//!   deadline passed, its connection is gone) are dropped.
//! - `deadline_us` is a moment of `shard.now.mono_us`'s clock (`shard.now.after_ms(ms)`); then `Waiting::on_deadline` must
//!   end the request. Without a deadline a request waits as long as its connection lives.
//! - Requests run one at a time per connection unless `route` says `overlapping`; responses leave in request order in any
//!   case. A handler never touches the session.
//! - The other end: the controller's and the coordinators' machines take their commands in `machines/`, answer with
//!   `shard.answer(asker, Answer::..)` and append with `shard.append_internal` (told when it is durable or has failed).
//!
//! Must never touch: sockets, other shards' state, the inside of machines.

mod alter_configs;
pub(crate) mod api_versions;
mod controller_wait;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
pub(crate) mod fetch;
mod fetch_response;
mod fetch_session;
mod find_coordinator;
pub(crate) mod group_wait;
mod heartbeat;
mod incremental_alter_configs;
pub(crate) mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod owners;
pub(crate) mod produce;
mod sync_group;
mod view;

#[cfg(test)]
mod admin_tests;

use std::net::SocketAddr;

use bytes::Bytes;
use coretide_model::ConnId;
use coretide_wire::header::decode_request_header_view;
use coretide_wire::{ApiKey, DecodeError, EncodeError, Message, Reader, encode_response};

use crate::config::REQUEST_OVERHEAD_BYTES;
use crate::event::{ListenerId, Response};
use crate::mail::Answer;
use crate::shard::Shard;

/// A handler: decodes, answers, or parks.
pub(crate) type Handler = fn(&mut Shard, &Request) -> Handled;

/// How an API is served.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub handle: Handler,
    /// May run beside other such requests of the same connection.
    pub overlaps: bool,
}

const fn alone(handle: Handler) -> Option<Route> {
    Some(Route { handle, overlaps: false })
}

const fn overlapping(handle: Handler) -> Option<Route> {
    Some(Route { handle, overlaps: true })
}

/// The table of handlers. What is not in it is not advertised and closes the connection.
pub(crate) fn route(api: ApiKey) -> Option<Route> {
    match api {
        ApiKey::Produce => overlapping(produce::handle),
        ApiKey::Fetch => overlapping(fetch::handle),
        ApiKey::ListOffsets => alone(list_offsets::handle),
        ApiKey::Metadata => alone(metadata::handle),
        ApiKey::OffsetCommit => overlapping(offset_commit::handle),
        ApiKey::OffsetFetch => alone(offset_fetch::handle),
        ApiKey::FindCoordinator => alone(find_coordinator::handle),
        ApiKey::JoinGroup => alone(join_group::handle),
        ApiKey::Heartbeat => alone(heartbeat::handle),
        ApiKey::LeaveGroup => alone(leave_group::handle),
        ApiKey::SyncGroup => alone(sync_group::handle),
        ApiKey::DescribeGroups => alone(describe_groups::handle),
        ApiKey::ListGroups => alone(list_groups::handle),
        ApiKey::ApiVersions => alone(api_versions::handle),
        ApiKey::CreateTopics => alone(create_topics::handle),
        ApiKey::DeleteTopics => alone(delete_topics::handle),
        ApiKey::DeleteRecords => alone(delete_records::handle),
        ApiKey::InitProducerId => alone(init_producer_id::handle),
        ApiKey::OffsetForLeaderEpoch => alone(offset_for_leader_epoch::handle),
        ApiKey::DescribeConfigs => alone(describe_configs::handle),
        ApiKey::AlterConfigs => alone(alter_configs::handle),
        ApiKey::DescribeLogDirs => alone(describe_log_dirs::handle),
        ApiKey::CreatePartitions => alone(create_partitions::handle),
        ApiKey::DeleteGroups => alone(delete_groups::handle),
        ApiKey::IncrementalAlterConfigs => alone(incremental_alter_configs::handle),
        ApiKey::ListPartitionReassignments => alone(list_partition_reassignments::handle),
        ApiKey::OffsetDelete => alone(offset_delete::handle),
        ApiKey::DescribeCluster => alone(describe_cluster::handle),
        ApiKey::DescribeProducers => alone(describe_producers::handle),
        ApiKey::ListConfigResources => alone(list_config_resources::handle),
        ApiKey::DescribeTopicPartitions => alone(describe_topic_partitions::handle),
        _ => None,
    }
}

/// What is kept of a request until it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub conn: ConnId,
    /// The place in the connection's line.
    pub place: u64,
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub listener: ListenerId,
    /// The size of the frame.
    pub frame_bytes: u32,
}

impl Head {
    /// For what no client waits for.
    pub const NOBODY: Head = Head {
        conn: ConnId(u64::MAX),
        place: 0,
        api: ApiKey::ApiVersions,
        version: 0,
        correlation_id: 0,
        listener: ListenerId(0),
        frame_bytes: 0,
    };

    /// What the request takes of the shard's memory budget until it is over.
    pub fn cost_bytes(&self) -> u64 {
        u64::from(self.frame_bytes) + REQUEST_OVERHEAD_BYTES
    }

    /// The response in this request's version.
    pub fn encode<M: Message>(&self, response: &M) -> Handled {
        debug_assert_eq!(M::API_KEY, Some(self.api.code()), "a response of another API");
        let frame = encode_response(response, self.version, self.correlation_id)?;
        Ok(Outcome::Answer(frame.into()))
    }
}

/// A request that has just arrived.
pub(crate) struct Request {
    pub head: Head,
    /// The whole frame, header included.
    pub frame: Bytes,
    /// Where the body begins.
    pub body_at: usize,
    pub peer: SocketAddr,
}

impl Request {
    /// A reader at the body.
    pub fn reader(&self) -> Reader<'_> {
        let mut reader = Reader::new(&self.frame);
        reader.take(self.body_at).expect("the header was read from this frame");
        reader
    }

    /// The body. Bytes behind it are ignored, as Kafka does.
    pub fn decode<M: Message>(&self) -> Result<M, DecodeError> {
        M::decode(&mut self.reader(), self.head.version)
    }

    /// Who the client says it is.
    pub fn client_id(&self) -> Option<&str> {
        decode_request_header_view(&mut Reader::new(&self.frame)).ok()?.client_id
    }

    /// Answers at once.
    pub fn answer<M: Message>(&self, response: &M) -> Handled {
        self.head.encode(response)
    }
}

/// What became of a request for now.
pub(crate) enum Outcome {
    /// This is to be sent in its turn.
    Answer(Response),
    /// Nothing will be sent; `Shard::finish_silent` follows.
    Silent,
    /// Nothing will be sent, and the request is over.
    Nothing,
    /// It waits.
    Later,
    /// The connection is to be closed when its turn comes.
    Close,
}

/// Why a request cannot be answered: the connection is closed, as Kafka does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The client sent something that is no request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// We made an answer that the version cannot express.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// A handler's result.
pub(crate) type Handled = Result<Outcome, Fault>;

/// A request that waits for answers of other shards.
pub(crate) trait Waiting: Send {
    /// An answer to one of the asks came.
    fn on_answer(&mut self, shard: &mut Shard, head: &Head, place: u32, answer: Answer) -> Handled;

    /// The deadline passed; the request must end now.
    fn on_deadline(&mut self, _shard: &mut Shard, _head: &Head) -> Handled {
        Ok(Outcome::Close)
    }
}
