//! One simulated consumer: a Fetch to each broker of its partitions, in sessions or without, and the records of its
//! answers. Several of them share a thread.
//! Must never touch: the clock (time is an argument), group membership (partitions are given to it).

use crate::lab::connection::Connection;
use crate::lab::payload::stamp_of;
use crate::lab::producer::Layout;
use crate::lab::scenario::ConsumerSettings;
use crate::lab::sys::Interest;
use crate::lab::tally::Tally;
use coretide_log::batch::{HEADER_BYTES, check_crc, walk_batches};
use coretide_log::codec::{Codec, DECOMPRESSED_MAX_BYTES, Decompressor};
use coretide_log::records::RecordIter;
use coretide_model::ErrorCode;
use coretide_wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use std::sync::Arc;

/// From this version on there are fetch sessions.
const SESSIONS_FROM: i16 = 7;
/// A connection that was lost is made again after this.
const RECONNECT_BACKOFF_NS: u64 = 50_000_000;
/// A partition that failed is asked for again after this (Kafka's `retry.backoff.ms`).
const RETRY_BACKOFF_NS: u64 = 100_000_000;
/// How much later than `fetch.max.wait.ms` an answer may come.
const OVERDUE_NS: u64 = 30_000_000_000;

/// A partition that it reads.
#[derive(Clone, Copy, Debug)]
struct Position {
    place: usize,
    offset: i64,
    /// The offset that the broker's session knows; none: not in the session.
    in_session: Option<i64>,
}

/// Its side of one broker.
#[derive(Debug)]
struct Node {
    connection: Option<Connection<()>>,
    positions: Vec<Position>,
    session_id: i32,
    session_epoch: i32,
    resume_ns: u64,
}

/// A consumer. See the module.
#[derive(Debug)]
pub struct Consumer {
    settings: ConsumerSettings,
    layout: Arc<Layout>,
    nodes: Vec<Node>,
    decompressor: Decompressor,
    plain: Vec<u8>,
    intended: Vec<u64>,
    /// Look into records for the time at which they should have been sent.
    stamped: bool,
    /// At the end of a partition go back to its beginning: nothing more will come.
    again: bool,
}

impl Consumer {
    /// Of these partitions (places with the offsets to begin at). `stamped`: records say when they should have been
    /// sent; `again`: at the end it begins again.
    pub fn connect(
        settings: &ConsumerSettings,
        layout: Arc<Layout>,
        partitions: &[(usize, i64)],
        stamped: bool,
        again: bool,
    ) -> Result<Consumer, String> {
        let mut nodes = Vec::new();
        for (node, address) in layout.nodes.iter().enumerate() {
            let own = partitions.iter().filter(|(place, _)| layout.node_of[*place] == node);
            let positions: Vec<Position> =
                own.map(|&(place, offset)| Position { place, offset, in_session: None }).collect();
            let connection = if positions.is_empty() { None } else { Some(Connection::open(address)?) };
            nodes.push(Node { connection, positions, session_id: 0, session_epoch: 0, resume_ns: 0 });
        }
        Ok(Consumer {
            settings: settings.clone(),
            layout,
            nodes,
            decompressor: Decompressor::default(),
            plain: Vec::new(),
            intended: Vec::new(),
            stamped,
            again,
        })
    }

    /// When it wants to be called again, whatever the sockets do.
    pub fn due_ns(&self) -> Option<u64> {
        let idle = |node: &&Node| {
            !node.positions.is_empty() && node.connection.as_ref().is_none_or(|own| own.in_flight() == 0)
        };
        self.nodes.iter().filter(idle).map(|node| node.resume_ns).min()
    }

    /// The sockets to wait for.
    pub fn interests(&self, out: &mut Vec<Interest>) {
        out.extend(self.nodes.iter().filter_map(|node| node.connection.as_ref()).map(Connection::interest));
    }

    /// Sends the next Fetch to every broker that has answered the last one.
    pub fn turn(&mut self, now_ns: u64, tally: &mut Tally) {
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            if node.positions.is_empty() || now_ns < node.resume_ns {
                continue;
            }
            if node.connection.is_none() {
                match Connection::open(&self.layout.nodes[place]) {
                    Ok(connection) => node.connection = Some(connection),
                    Err(_) => {
                        node.resume_ns = now_ns + RECONNECT_BACKOFF_NS;
                        continue;
                    }
                }
            }
            let Some(connection) = &node.connection else { continue };
            if let Some(sent_ns) = connection.oldest_sent_ns() {
                let wait_ns = self.settings.fetch_max_wait_ms.max(0) as u64 * 1_000_000;
                if now_ns > sent_ns + wait_ns + OVERDUE_NS {
                    self.lost(now_ns, place, "no answer to a Fetch", tally);
                }
                continue;
            }
            let request = self.request(place);
            let version = self.layout.fetch_version;
            let Some(connection) = &mut self.nodes[place].connection else { continue };
            if let Err(reason) = connection.send(&request, version, now_ns, ()) {
                self.lost(now_ns, place, &reason, tally);
            }
        }
    }

    fn has_sessions(&self) -> bool {
        self.settings.fetch_sessions && self.layout.fetch_version >= SESSIONS_FROM
    }

    fn request(&mut self, place: usize) -> FetchRequest {
        let sessions = self.has_sessions();
        let node = &mut self.nodes[place];
        let incremental = sessions && node.session_epoch > 0;
        let mut topics: Vec<FetchTopic> = Vec::new();
        for position in &mut node.positions {
            if incremental && position.in_session == Some(position.offset) {
                continue;
            }
            position.in_session = Some(position.offset);
            let (topic, partition) = self.layout.partition(position.place);
            let wanted = FetchPartition {
                partition,
                fetch_offset: position.offset,
                partition_max_bytes: self.settings.max_partition_fetch_bytes,
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|known| known.topic == topic) {
                Some(known) => known.partitions.push(wanted),
                None => topics.push(FetchTopic {
                    topic: topic.to_string(),
                    partitions: vec![wanted],
                    ..FetchTopic::default()
                }),
            }
        }
        // Epoch 0 asks for a session, -1 for none.
        FetchRequest {
            max_wait_ms: self.settings.fetch_max_wait_ms,
            min_bytes: self.settings.fetch_min_bytes,
            max_bytes: self.settings.fetch_max_bytes,
            session_id: if sessions { node.session_id } else { 0 },
            session_epoch: if sessions { node.session_epoch } else { -1 },
            topics,
            ..FetchRequest::default()
        }
    }

    /// Reads and writes what the sockets have. `now` is the clock: it is read once for each answer.
    pub fn io(&mut self, now: &impl Fn() -> u64, scratch: &mut [u8], tally: &mut Tally) {
        for place in 0..self.nodes.len() {
            let Some(connection) = &mut self.nodes[place].connection else { continue };
            if let Err(reason) = connection.write().and_then(|()| connection.read(scratch)) {
                self.lost(now(), place, &reason, tally);
                continue;
            }
            while let Some(connection) = &mut self.nodes[place].connection {
                match connection.next_answer::<FetchResponse>() {
                    None => break,
                    Some(Ok((sent, response))) => {
                        let now_ns = now();
                        tally.request(now_ns, sent.sent_ns);
                        self.answered(now_ns, place, response, tally);
                    }
                    Some(Err(reason)) => self.lost(now(), place, &reason, tally),
                }
            }
        }
    }

    fn answered(&mut self, now_ns: u64, place: usize, response: FetchResponse, tally: &mut Tally) {
        let sessions = self.has_sessions();
        let node = &mut self.nodes[place];
        if response.error_code != 0 {
            // The broker has dropped the session; the next request makes another one, as Kafka's consumer does.
            let (id, epoch) = (ErrorCode::FetchSessionIdNotFound.code(), ErrorCode::InvalidFetchSessionEpoch.code());
            if ![id, epoch].contains(&response.error_code) {
                tally.error(&name_of(response.error_code));
                node.resume_ns = now_ns + RETRY_BACKOFF_NS;
            }
            forget_session(node);
            return;
        }
        if sessions {
            // Session id 0: the broker keeps none for us.
            node.session_id = response.session_id;
            node.session_epoch = match (response.session_id, node.session_epoch) {
                (0, _) => 0,
                (_, i32::MAX) => 1,
                (_, epoch) => epoch + 1,
            };
        }
        for FetchableTopicResponse { topic, partitions, .. } in response.responses {
            for data in partitions {
                let Some(found) = self.layout.place(&topic, data.partition_index) else { continue };
                self.partition(now_ns, place, found, &data, tally);
            }
        }
    }

    fn partition(&mut self, now_ns: u64, node: usize, place: usize, data: &PartitionData, tally: &mut Tally) {
        let positions = &mut self.nodes[node].positions;
        let Some(at) = positions.iter().position(|position| position.place == place) else { return };
        if data.error_code != 0 {
            tally.error(&name_of(data.error_code));
            positions[at].in_session = None;
            self.nodes[node].resume_ns = now_ns + RETRY_BACKOFF_NS;
            return;
        }
        let Some(bytes) = &data.records else { return };
        let mut offset = positions[at].offset;
        for (start, header) in walk_batches(bytes) {
            let batch = &bytes[start..start + header.total_bytes()];
            if self.settings.check_crcs && check_crc(batch).is_err() {
                tally.error("CRC of a batch");
            }
            match self.read_batch(batch, header.record_count, header.codec().unwrap_or_default()) {
                Ok((records, payload)) => {
                    tally.batch(now_ns, records, payload, batch.len() as u64, &self.intended);
                }
                Err(reason) => tally.error(&reason),
            }
            offset = offset.max(header.next_offset());
        }
        let at_end = self.again && offset >= data.high_watermark && offset > 0;
        self.nodes[node].positions[at].offset = if at_end { 0 } else { offset };
    }

    /// Counts a batch's records and the bytes of their keys and values.
    fn read_batch(&mut self, batch: &[u8], count: i32, codec: Codec) -> Result<(u64, u64), String> {
        let body = &batch[HEADER_BYTES..];
        let plain = if codec == Codec::None {
            body
        } else {
            self.decompressor
                .decompress(codec, body, DECOMPRESSED_MAX_BYTES, &mut self.plain)
                .map_err(|error| error.to_string())?;
            &self.plain[..]
        };
        self.intended.clear();
        let (mut records, mut bytes) = (0, 0);
        for record in RecordIter::new(plain, count) {
            let record = record.map_err(|error| error.to_string())?;
            records += 1;
            bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
            if self.stamped {
                self.intended.extend(record.value.and_then(stamp_of));
            }
        }
        Ok((records, bytes))
    }

    fn lost(&mut self, now_ns: u64, place: usize, reason: &str, tally: &mut Tally) {
        let node = &mut self.nodes[place];
        node.connection = None;
        node.resume_ns = now_ns + RECONNECT_BACKOFF_NS;
        forget_session(node);
        tally.error(&format!("connection lost: {reason}"));
    }
}

fn forget_session(node: &mut Node) {
    node.session_id = 0;
    node.session_epoch = 0;
    for position in &mut node.positions {
        position.in_session = None;
    }
}

fn name_of(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.name().to_string())
}
