//! A client that asks where the partitions begin and end, and for records by time, and holds the answers against the model.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use super::worker::{Links, Worker, any_partition};
use super::{Answer, Cx, Shared, Slot, is_retriable};
use crate::judge::{PartitionName, Verdict};

const NEXT: u32 = 1;

#[derive(Debug)]
struct Asked {
    partition: PartitionName,
    timestamp: i64,
    least_end: i64,
    least_start: i64,
}

/// The client.
#[derive(Debug, Default)]
pub struct Checker {
    asked: Option<Asked>,
}

impl Checker {
    fn ask(&mut self, cx: &mut Cx<'_>) {
        let partition = any_partition(cx);
        let timestamp = match cx.prng.below(4) {
            0 => -2,
            1 | 2 => -1,
            _ => cx.wall_ms - cx.prng.below(3000) as i64,
        };
        let least_end = cx.shared.log.least_end(&partition);
        let wanted =
            ListOffsetsPartition { partition_index: partition.1, timestamp, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: partition.0.clone(), partitions: vec![wanted] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
        let least_start = cx.shared.log.least_start(&partition);
        self.asked = Some(Asked { partition, timestamp, least_end, least_start });
        let version = cx.version(1, 9);
        cx.send(0, ApiKey::ListOffsets, version, &request);
    }
}

impl Worker for Checker {
    fn name(&self) -> String {
        "checker".to_string()
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        self.ask(cx);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: ListOffsetsResponse = answer.read()?;
        let asked = self.asked.take().ok_or("a ListOffsets response nobody asked for")?;
        cx.timer(30, NEXT);
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or("ListOffsets answers without the partition")?;
        if partition.error_code == 0 && asked.timestamp == -2 {
            cx.shared.log.starts_at(&asked.partition, partition.offset)?;
        }
        let log = &cx.shared.log;
        match (partition.error_code, asked.timestamp) {
            (0, -1) if partition.offset < asked.least_end => {
                let what = (&asked.partition, partition.offset, asked.least_end);
                Err(format!("L7: ListOffsets: the end of {:?} is {}, was {}", what.0, what.1, what.2))
            }
            (0, -2) if partition.offset < asked.least_start => {
                Err(format!("L7: ListOffsets: {:?} begins at {} again", asked.partition, partition.offset))
            }
            (0, target @ 0..) => {
                log.found_by_time(&asked.partition, target, partition.offset, partition.timestamp, asked.least_end)
            }
            (0, _) => Ok(()),
            (code, _) if is_retriable(code) => Ok(()),
            (code, target) => Err(format!("ListOffsets of {:?} for {target}: error {code}", asked.partition)),
        }
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.asked = None;
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        if timer == NEXT && links.is_open(0) && self.asked.is_none() {
            self.ask(cx);
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        true
    }
}
