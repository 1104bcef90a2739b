//! A client that deletes records from the front of partitions now and then.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};

use super::worker::{Links, Worker, any_partition};
use super::{Answer, Cx, Shared, Slot, is_retriable};
use crate::judge::{PartitionName, Verdict};

const NEXT: u32 = 1;

/// The client.
#[derive(Debug)]
pub struct Deleter {
    asked: Option<(PartitionName, i64)>,
    left: u32,
}

impl Deleter {
    /// Deletes `times` times.
    pub fn new(times: u32) -> Deleter {
        Deleter { asked: None, left: times }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        let partition = any_partition(cx);
        let end = cx.shared.log.least_end(&partition);
        let offset = cx.prng.below(end as u64 + 1) as i64;
        cx.shared.log.may_delete(&partition, offset);
        let wanted = DeleteRecordsPartition { partition_index: partition.1, offset };
        let topics = vec![DeleteRecordsTopic { name: partition.0.clone(), partitions: vec![wanted] }];
        self.asked = Some((partition, offset));
        let version = cx.version(0, 2);
        cx.send(0, ApiKey::DeleteRecords, version, &DeleteRecordsRequest { topics, timeout_ms: 30_000 });
    }
}

impl Worker for Deleter {
    fn name(&self) -> String {
        "deleter".to_string()
    }

    fn first_ms(&self) -> u64 {
        300
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        cx.timer(100, NEXT);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: DeleteRecordsResponse = answer.read()?;
        let (asked, offset) = self.asked.take().ok_or("a DeleteRecords response nobody asked for")?;
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or("DeleteRecords answers without the partition")?;
        cx.timer(200, NEXT);
        match partition.error_code {
            0 if partition.low_watermark < offset => {
                Err(format!("C3: {asked:?}: asked to start at {offset}, starts at {}", partition.low_watermark))
            }
            0 => {
                self.left -= 1;
                cx.shared.log.deleted(&asked, partition.low_watermark)
            }
            code if is_retriable(code) => Ok(()),
            code => Err(format!("DeleteRecords of {asked:?} up to {offset}: error {code}")),
        }
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.asked = None;
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        let more = self.left > 0 && !cx.shared.winding_down;
        if timer == NEXT && links.is_open(0) && self.asked.is_none() && more {
            self.ask(cx);
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        true
    }
}
