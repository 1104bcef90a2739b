//! A client that deletes records from the front of partitions now and then.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};

use super::{Answer, Client, Command, Cx, Shared, Slot, is_retriable};
use crate::judge::{PartitionName, Verdict};

const RECONNECT: u32 = 1;
const NEXT: u32 = 2;

/// The client.
#[derive(Debug)]
pub struct Deleter {
    open: bool,
    asked: Option<(PartitionName, i64)>,
    left: u32,
}

impl Deleter {
    /// Deletes `times` times.
    pub fn new(times: u32) -> Deleter {
        Deleter { open: false, asked: None, left: times }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        let partitions = cx.shared.partitions();
        let partition = partitions[cx.prng.below(partitions.len() as u64) as usize].clone();
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

impl Client for Deleter {
    fn name(&self) -> String {
        "deleter".to_string()
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        cx.timer(300, RECONNECT);
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        self.open = true;
        cx.timer(100, NEXT);
        Ok(())
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
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

    fn on_close(&mut self, cx: &mut Cx<'_>, _: Slot) {
        self.open = false;
        self.asked = None;
        cx.timer(10, RECONNECT);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, id: u32) -> Verdict {
        if !cx.shared.ready {
            cx.timer(20, id);
            return Ok(());
        }
        let more = self.left > 0 && !cx.shared.winding_down;
        match id {
            RECONNECT if !self.open => cx.commands.push(Command::Connect(0)),
            NEXT if self.open && self.asked.is_none() && more => self.ask(cx),
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        true
    }
}
