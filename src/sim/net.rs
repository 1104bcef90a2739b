//! Virtual connections: bytes arrive late and in pieces, and connections break.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use coretide_model::ConnId;
use coretide_shard::FrameAssembler;
use coretide_wire::api::ApiKey;

use crate::client::Slot;

/// A request that the client expects an answer to.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub correlation: i32,
    pub key: ApiKey,
    pub version: i16,
    pub sent_at_us: u64,
}

/// One connection, both of its ends.
#[derive(Debug)]
pub struct Conn {
    pub id: ConnId,
    pub client: usize,
    pub slot: Slot,
    pub shard: usize,
    /// On the way to the broker.
    pub to_server: BytesMut,
    /// Cuts what arrived at the broker into frames.
    pub assembler: FrameAssembler,
    /// On the way to the client.
    pub to_client: BytesMut,
    /// What arrived at the client and is not a whole response yet.
    pub arrived: BytesMut,
    /// Answers due, in order (W1).
    pub expected: VecDeque<Expected>,
    /// The broker does not read.
    pub paused: bool,
    /// The broker closes once everything is sent.
    pub closing: bool,
    /// What the client sends may be anything, and it does not care for answers.
    pub hostile: bool,
    /// The client takes nothing.
    pub unread: bool,
    /// Nothing arrives any more, in either direction, and the broker does not know.
    pub vanished: bool,
    /// A delivery in this direction is scheduled.
    pub to_server_due: bool,
    pub to_client_due: bool,
}

/// The largest frame, as `socket.request.max.bytes`.
const FRAME_BYTES_MAX: usize = 100 << 20;

impl Conn {
    /// An open connection.
    pub fn new(id: ConnId, client: usize, slot: Slot, shard: usize) -> Conn {
        Conn {
            id,
            client,
            slot,
            shard,
            to_server: BytesMut::new(),
            assembler: FrameAssembler::new(FRAME_BYTES_MAX),
            to_client: BytesMut::new(),
            arrived: BytesMut::new(),
            expected: VecDeque::new(),
            paused: false,
            closing: false,
            hostile: false,
            unread: false,
            vanished: false,
            to_server_due: false,
            to_client_due: false,
        }
    }

    /// The next whole response at the client, without its length; an error names what is wrong with the stream.
    pub fn next_response(&mut self) -> Result<Option<Bytes>, String> {
        let Some(prefix) = self.arrived.first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let length = usize::try_from(length).map_err(|_| format!("W: a response of {length} bytes"))?;
        if self.arrived.len() < 4 + length {
            return Ok(None);
        }
        self.arrived.advance(4);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }
}
