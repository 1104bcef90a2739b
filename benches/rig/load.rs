//! Connections at a rig's first shard, and the requests that they send again and again.
//! Must never touch: how it is measured.

use bytes::Bytes;
use coretide_model::ConnId;

use super::Rig;

/// Partitions of the topic.
const PARTITIONS: i32 = 16;
/// Connections.
pub const CONNS: usize = 16;
/// Batches in memory that fetches find.
const FILL: usize = 1200;

/// What to send.
pub struct Load {
    pub rig: Rig,
    conns: Vec<ConnId>,
    /// Taken in turn.
    pub frames: Vec<Bytes>,
}

impl Load {
    /// Produces through shard 0 to partitions of the shard `owner`: a frame of one batch for each of them.
    pub fn produce(shards: u16, owner: u16, records: usize, record_bytes: usize) -> Load {
        let mut rig = Rig::new(shards, PARTITIONS);
        let conns: Vec<ConnId> = (0..CONNS).map(|_| rig.open(0)).collect();
        let mut frames = Vec::new();
        for partition in 0..PARTITIONS {
            let frame = super::produce(partition, records, record_bytes);
            let before = rig.mails;
            rig.push(0, conns[0], &frame);
            rig.settle();
            if (rig.mails > before) == (owner > 0) {
                frames.push(frame);
            }
        }
        assert!(!frames.is_empty(), "one of 16 partitions is at shard {owner}");
        Load { rig, conns, frames }
    }

    /// Fetches so many bytes of batches of 1 KiB from memory.
    pub fn fetch(max_bytes: i32) -> Load {
        let mut load = Load::produce(1, 0, 1, 1024);
        load.frames.truncate(1);
        (0..FILL).for_each(|_| load.turn(1));
        load.frames = vec![super::fetch(0, 0, max_bytes)];
        load
    }

    /// So many requests in one turn, answered.
    pub fn turn(&mut self, requests: usize) {
        let before = self.rig.sent;
        for at in 0..requests {
            self.rig.push(0, self.conns[at % CONNS], &self.frames[at % self.frames.len()]);
        }
        self.rig.settle();
        assert_eq!(self.rig.sent - before, requests as u64, "every request has its response");
    }
}
