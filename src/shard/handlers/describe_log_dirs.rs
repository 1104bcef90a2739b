//! DescribeLogDirs: how many bytes each partition has on disk, over all shards, and the volume's size and room.

use super::view::View;
use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask, LogSizes};
use crate::shard::Shard;
use coretide_model::{ShardId, TopicId};
use coretide_wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use std::collections::{BTreeMap, BTreeSet};

/// The volume was never measured (KIP-827 allows its size to be missing).
const UNKNOWN_VOLUME_BYTES: i64 = -1;

/// Asks every shard for the sizes of its logs.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeLogDirsRequest = request.decode()?;
    let shards = shard.config.shards;
    let wait = SizesWait { request: asked, left: shards, found: LogSizes::default() };
    let id = shard.wait(request.head, None, Box::new(wait));
    for owner in 0..shards {
        shard.ask(ShardId(owner), id, u32::from(owner), Ask::LogSizes);
    }
    Ok(Outcome::Later)
}

/// Gathers what the shards say.
struct SizesWait {
    request: DescribeLogDirsRequest,
    left: u16,
    found: LogSizes,
}

impl Waiting for SizesWait {
    fn on_answer(&mut self, shard: &mut Shard, head: &Head, place: u32, answer: Answer) -> Handled {
        match answer {
            Answer::LogSizes(LogSizes { sizes, volume }) => {
                self.found.sizes.extend(sizes);
                // The first shard looks most often.
                if place == 0 || self.found.volume.is_none() {
                    self.found.volume = volume.or(self.found.volume);
                }
            }
            _ => return Ok(Outcome::Close),
        }
        self.left -= 1;
        if self.left > 0 {
            return Ok(Outcome::Later);
        }
        let found = std::mem::take(&mut self.found);
        head.encode(&response(&self.request, &View::of(shard, head), found))
    }
}

/// The response out of what all shards said about their partitions. Partitions that do not exist are left out.
pub(crate) fn response(request: &DescribeLogDirsRequest, view: &View<'_>, found: LogSizes) -> DescribeLogDirsResponse {
    let wanted = request.topics.as_ref().map(|topics| {
        let pair = |name: &str, partition: i32| view.image.topic_named(name).map(|topic| (topic.id, partition));
        let pairs = topics.iter().flat_map(|t| t.partitions.iter().filter_map(|p| pair(&t.topic, *p)));
        pairs.collect::<BTreeSet<(TopicId, i32)>>()
    });
    let mut by_topic: BTreeMap<&str, BTreeMap<i32, u64>> = BTreeMap::new();
    for (tp, bytes) in found.sizes {
        let Some(topic) = view.image.topic(tp.topic_id) else { continue };
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&(tp.topic_id, tp.partition))) {
            by_topic.entry(&topic.name).or_default().insert(tp.partition, bytes);
        }
    }
    let topics = by_topic.into_iter().map(|(name, partitions)| DescribeLogDirsTopic {
        name: name.to_string(),
        partitions: partitions
            .into_iter()
            .map(|(partition_index, bytes)| DescribeLogDirsPartition {
                partition_index,
                partition_size: wire_bytes(bytes),
                ..DescribeLogDirsPartition::default()
            })
            .collect(),
    });
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            log_dir: view.image.broker().log_dirs[0].clone(),
            topics: topics.collect(),
            total_bytes: found.volume.map_or(UNKNOWN_VOLUME_BYTES, |volume| wire_bytes(volume.total_bytes)),
            usable_bytes: found.volume.map_or(UNKNOWN_VOLUME_BYTES, |volume| wire_bytes(volume.free_bytes)),
            ..DescribeLogDirsResult::default()
        }],
        ..DescribeLogDirsResponse::default()
    }
}

fn wire_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
