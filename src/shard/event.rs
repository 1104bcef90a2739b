//! What a shard is told and what it wants done: the two closed enums between the pure part and its drivers.
//! Must never touch: how a driver does any of it.

use std::net::SocketAddr;

use bytes::Bytes;
use coretide_log::io::{Op, OpResult};
use coretide_log::store::Extent;
use coretide_model::{ConnId, Notice, ShardId};
use smallvec::SmallVec;

use crate::mail::Mail;

pub use coretide_log::store::{StoreJob as Job, StoreJobOutput as JobOutput};

/// A listener, by its place in `BrokerConfig::listeners`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerId(pub u8);

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted; its first frame comes later.
    Opened { conn: ConnId, listener: ListenerId, peer: SocketAddr },
    /// A whole frame arrived, without its length prefix.
    Frame { conn: ConnId, bytes: Bytes },
    /// The connection is gone; nothing more can be sent on it. Also follows [`Output::Close`].
    Closed { conn: ConnId },
    /// The kernel took this many more bytes of responses.
    Sent { conn: ConnId, bytes: u64 },
    /// An [`Output::Io`] is over.
    IoDone { id: u64, result: OpResult },
    /// An [`Output::Job`] is over. Boxed: what a job found is several times the size of every other event.
    JobDone { id: u64, output: Box<JobOutput> },
    /// Another shard wrote.
    Mail { from: ShardId, mail: Mail },
    /// Time passed: [`crate::Shard::next_deadline_us`] was reached.
    Tick,
    /// The broker is asked to stop (SIGTERM).
    Stop,
}

/// Something is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send this on the connection, after what was sent before.
    Send { conn: ConnId, response: Response },
    /// Close the connection after what was sent before has left. Answered by [`Event::Closed`].
    Close { conn: ConnId },
    /// Read no more from the connection. Frames that were received already may still be delivered.
    PauseRead { conn: ConnId },
    /// Read again.
    ResumeRead { conn: ConnId },
    /// Take the mail to another shard; what goes from one shard to another keeps its order.
    Mail { to: ShardId, mail: Mail },
    /// Do this at once (the journal, large appends); answered by [`Event::IoDone`].
    Io { id: u64, op: Op },
    /// Do this in the background; answered by [`Event::JobDone`].
    Job { id: u64, job: Job },
    /// Tell the operator.
    Notice(Notice),
    /// This shard can serve requests: connections may be given to it.
    Ready,
    /// Everything is on disk: the shard may be dropped.
    Stopped,
    /// This shard cannot go on (its metadata log cannot be read); the process must end with this message.
    Fatal { reason: String },
}

/// A response's frame, its length prefix included.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// What to send, one after another.
    pub extents: SmallVec<[Extent; 1]>,
    /// All bytes of it.
    pub bytes: u64,
}

impl Response {
    /// The bytes of it that are in memory.
    pub fn held_bytes(&self) -> u64 {
        let held = |extent: &Extent| match extent {
            Extent::Hot(bytes) => bytes.len() as u64,
            Extent::File { .. } => 0,
        };
        self.extents.iter().map(held).sum()
    }
}

impl From<Bytes> for Response {
    fn from(frame: Bytes) -> Response {
        let bytes = frame.len() as u64;
        Response { extents: SmallVec::from_buf([Extent::Hot(frame)]), bytes }
    }
}
