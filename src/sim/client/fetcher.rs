//! A consumer without a group: long polls all partitions from the start, with or without a fetch session.

use std::collections::BTreeMap;

use coretide_wire::api::ApiKey;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse};

use super::worker::{Links, Worker, fetch_request, fetch_topic, wanted};
use super::{Answer, Cx, Shared, Slot, is_retriable};
use crate::judge::{PartitionName, Verdict};
use crate::records::{ReadRecord, decode_batches};

const AGAIN: u32 = 1;

/// The fetch session as the client knows it (KIP-227).
#[derive(Debug, Default)]
struct Session {
    id: i32,
    epoch: i32,
    /// The position last sent for each partition.
    sent: BTreeMap<PartitionName, i64>,
}

/// The consumer.
#[derive(Debug)]
pub struct Fetcher {
    version: i16,
    isolation: i8,
    max_bytes: i32,
    with_session: bool,
    session: Session,
    /// The request in flight does not fit its session.
    broke_rules: bool,
    positions: BTreeMap<PartitionName, i64>,
    /// What the request in flight promises: the least end of each partition when it was sent.
    asked: Option<BTreeMap<PartitionName, (i64, i64)>>,
    /// Everything that was read, for the final judgement.
    seen: BTreeMap<PartitionName, Vec<ReadRecord>>,
}

impl Fetcher {
    /// A consumer that asks in this way.
    pub fn new(version: i16, isolation: i8, max_bytes: i32, with_session: bool) -> Fetcher {
        Fetcher {
            version,
            isolation,
            max_bytes,
            with_session,
            session: Session::default(),
            broke_rules: false,
            positions: BTreeMap::new(),
            asked: None,
            seen: BTreeMap::new(),
        }
    }

    fn fetch(&mut self, cx: &mut Cx<'_>) {
        if self.positions.is_empty() {
            self.positions = cx.shared.partitions().into_iter().map(|partition| (partition, 0)).collect();
        }
        let incremental = self.session.id != 0;
        let mut topics: BTreeMap<String, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, &position) in &self.positions {
            if incremental && self.session.sent.get(partition) == Some(&position) {
                continue;
            }
            self.session.sent.insert(partition.clone(), position);
            topics.entry(partition.0.clone()).or_default().push(wanted(partition.1, position, self.max_bytes));
        }
        // Now and then it breaks a rule of sessions, which ends the session.
        let (mut version, mut slip) = (self.version, 0);
        if incremental && cx.prng.chance(1, 40) {
            match cx.prng.below(2) {
                0 => slip = 1 + cx.prng.below(9) as i32,
                _ => version = if self.version >= 13 { 12 } else { 13 },
            }
        }
        self.broke_rules = slip > 0 || version != self.version;
        let id = |name: &str| (version >= 13).then(|| cx.shared.topic_id(name));
        let topics = topics.into_iter().map(|(name, wanted)| fetch_topic(&name, id(&name), wanted)).collect();
        let session_epoch = match (self.with_session, incremental) {
            (false, _) => -1,
            (true, false) => 0,
            (true, true) => self.session.epoch.saturating_add(slip),
        };
        let request = FetchRequest {
            min_bytes: 1 + cx.prng.below(2) as i32 * 500,
            isolation_level: self.isolation,
            session_id: self.session.id,
            session_epoch,
            ..fetch_request(topics, self.max_bytes * 3, cx.prng.below(500) as i32)
        };
        let least = |(partition, &position): (&PartitionName, &i64)| {
            (partition.clone(), (position, cx.shared.log.least_end(partition)))
        };
        self.asked = Some(self.positions.iter().map(least).collect());
        cx.send(0, ApiKey::Fetch, version, &request);
    }

    fn on_fetched(&mut self, cx: &mut Cx<'_>, response: &FetchResponse) -> Verdict {
        let asked = self.asked.take().ok_or("a Fetch response nobody asked for")?;
        match response.error_code {
            0 if !self.broke_rules => {}
            0 => return Err("Fetch: a session goes on after another epoch or form".to_string()),
            70 | 71 | 106 => {
                self.session = Session::default();
                return Ok(());
            }
            code => return Err(format!("Fetch: error {code}")),
        }
        if self.with_session {
            self.session.id = response.session_id;
            self.session.epoch = if response.session_id == 0 { 0 } else { self.session.epoch % i32::MAX + 1 };
        }
        for topic in &response.responses {
            let name = if self.version >= 13 { cx.shared.topic_name(topic.topic_id.0) } else { topic.topic.clone() };
            for data in &topic.partitions {
                let partition = (name.clone(), data.partition_index);
                let Some(&(position, least_end)) = asked.get(&partition) else {
                    return Err(format!("Fetch gives {partition:?}, which nobody asked for"));
                };
                if matches!(data.error_code, 0 | 1) && data.log_start_offset >= 0 {
                    cx.shared.log.starts_at(&partition, data.log_start_offset)?;
                }
                let expires = cx.shared.log.expires(&partition);
                if data.error_code == 1 && (expires || position < cx.shared.log.log_start(&partition)) {
                    // Version 4 does not say where the log starts; real clients ask ListOffsets then.
                    let asked_for = cx.shared.log.log_start(&partition);
                    let start = if data.log_start_offset < 0 { asked_for } else { data.log_start_offset };
                    self.positions.insert(partition, start.max(position));
                    continue;
                }
                if is_retriable(data.error_code) {
                    continue;
                }
                if data.error_code != 0 {
                    let marks = (data.log_start_offset, data.high_watermark);
                    let code = data.error_code;
                    return Err(format!("Fetch of {partition:?} at {position}: error {code}, start and end {marks:?}"));
                }
                if data.high_watermark < least_end {
                    let end = data.high_watermark;
                    return Err(format!("L7: {partition:?} ends at {end}, acked or read before was {least_end}"));
                }
                let records = decode_batches(data.records.as_deref().unwrap_or_default())?;
                cx.shared.log.read(&partition, position, &records, data.high_watermark)?;
                let fresh = records.into_iter().filter(|record| record.offset >= position);
                let seen = self.seen.entry(partition.clone()).or_default();
                seen.extend(fresh);
                if let Some(last) = seen.last() {
                    self.positions.insert(partition, position.max(last.offset + 1));
                }
            }
        }
        Ok(())
    }
}

impl Worker for Fetcher {
    fn name(&self) -> String {
        format!("fetcher v{} isolation {} session {}", self.version, self.isolation, self.with_session)
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        self.session = Session::default();
        self.fetch(cx);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: FetchResponse = answer.read()?;
        self.on_fetched(cx, &response)?;
        if cx.prng.chance(1, 4) {
            let pause_ms = 1 + cx.prng.below(50);
            cx.timer(pause_ms, AGAIN);
        } else {
            self.fetch(cx);
        }
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.asked = None;
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        if timer == AGAIN && links.is_open(0) && self.asked.is_none() {
            self.fetch(cx);
        }
        Ok(())
    }

    fn seen(&self, partition: &PartitionName) -> &[ReadRecord] {
        self.seen.get(partition).map_or(&[], Vec::as_slice)
    }

    /// It has read what was acked.
    fn settled(&self, shared: &Shared) -> bool {
        let reached = |partition: &PartitionName| self.positions.get(partition).copied().unwrap_or(0);
        shared.log.partitions().iter().all(|partition| reached(partition) >= shared.log.least_end(partition))
    }
}
