//! Who is to be woken when a partition's readable end moves: the fetches of all shards that found nothing here. One token
//! stands for one fetch, whatever number of partitions it watches, and fires once.
//! Must never touch: the partitions' own tables of offsets.

use std::collections::BTreeMap;

use coretide_model::{ShardId, TopicPartition};
use coretide_partition::Isolation;

use super::Logs;
use crate::mail::{Mail, ReqId};
use crate::shard::Shard;

/// The watching fetches.
#[derive(Default)]
pub(super) struct WatchTable {
    next_token: u64,
    by_token: BTreeMap<u64, Watch>,
    by_request: BTreeMap<(ShardId, ReqId), u64>,
}

struct Watch {
    shard: ShardId,
    id: ReqId,
    partitions: Vec<TopicPartition>,
}

impl Logs {
    /// Watches partitions for a request, each for its readable end to pass an offset. Earlier watches of the request
    /// are taken back.
    pub(super) fn watch(
        &mut self,
        shard: ShardId,
        id: ReqId,
        isolation: Isolation,
        at: impl Iterator<Item = (TopicPartition, i64)>,
    ) {
        self.unwatch(shard, id);
        let token = self.watches.next_token;
        self.watches.next_token += 1;
        let mut partitions = Vec::new();
        for (tp, offset) in at {
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.watch(isolation, offset, token, &mut self.woken);
                partitions.push(tp);
            }
        }
        self.watches.by_token.insert(token, Watch { shard, id, partitions });
        self.watches.by_request.insert((shard, id), token);
    }

    /// Takes the watches of a request back; one without is fine.
    pub fn unwatch(&mut self, shard: ShardId, id: ReqId) {
        let Some(token) = self.watches.by_request.remove(&(shard, id)) else { return };
        self.drop_token(token);
    }

    fn drop_token(&mut self, token: u64) -> Option<Watch> {
        let watch = self.watches.by_token.remove(&token)?;
        for tp in &watch.partitions {
            if let Some(partition) = self.partitions.get_mut(tp) {
                partition.unwatch(token);
            }
        }
        Some(watch)
    }

    /// How many fetches watch.
    #[cfg(test)]
    pub fn watching(&self) -> usize {
        self.watches.by_token.len()
    }
}

impl Shard {
    /// Tells everybody whose watch fired, once, whatever number of partitions moved.
    pub(crate) fn wake_watchers(&mut self) {
        let mut woken = std::mem::take(&mut self.logs.woken);
        for token in woken.drain(..) {
            let Some(watch) = self.logs.drop_token(token) else { continue };
            self.logs.watches.by_request.remove(&(watch.shard, watch.id));
            self.send(watch.shard, Mail::Woken { id: watch.id });
        }
        if self.logs.woken.is_empty() {
            self.logs.woken = woken;
        }
    }
}
