//! How a request names a topic: by name in old versions, by id in new ones.
//! Must never touch: which topics exist.

use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;
use coretide_model::TopicId;

/// A topic as a request or response names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By its name.
    Name(&'a str),
    /// By its id (KIP-516).
    Id(TopicId),
}

impl<'a> TopicRef<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, by_id: bool, flexible: bool) -> Result<TopicRef<'a>, DecodeError> {
        if by_id { r.uuid().map(TopicRef::Id) } else { r.str(flexible).map(TopicRef::Name) }
    }

    /// Writes it; by id or by name, as the caller's version wants it, is the caller's promise.
    pub(crate) fn encode(self, w: &mut Writer, flexible: bool) -> Result<(), EncodeError> {
        match self {
            TopicRef::Name(name) => w.string(flexible, name),
            TopicRef::Id(id) => {
                w.uuid(id);
                Ok(())
            }
        }
    }
}

/// Who leads a partition, told to a client that asked the wrong broker (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The leader's node id.
    pub leader_id: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
}

/// Where a broker listens (KIP-951).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// Its node id.
    pub node_id: i32,
    /// Its host name.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

/// The tag section at a response's end, with the leaders' endpoints as its only field.
pub(crate) fn encode_endpoints_tag(w: &mut Writer, endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
    if endpoints.is_empty() {
        w.unsigned_varint(0);
        return Ok(());
    }
    w.unsigned_varint(1);
    w.tagged(0, |w| {
        w.array_len(true, endpoints.len())?;
        for endpoint in endpoints {
            w.i32(endpoint.node_id);
            w.string(true, &endpoint.host)?;
            w.i32(endpoint.port);
            w.nullable_string(true, endpoint.rack.as_deref())?;
            w.unsigned_varint(0);
        }
        Ok(())
    })
}

/// One current-leader field under `tag`.
pub(crate) fn encode_leader_tag(w: &mut Writer, tag: u32, leader: CurrentLeader) {
    w.unsigned_varint(tag);
    w.unsigned_varint(9);
    w.i32(leader.leader_id);
    w.i32(leader.leader_epoch);
    w.unsigned_varint(0);
}
