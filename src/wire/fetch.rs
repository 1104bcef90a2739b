//! Fetch by hand: a lean request, and a response whose records are holes that the sender fills.
//!
//! The encoder writes all heads into one buffer and cuts it where records belong, so record bytes are never touched
//! here; the first head carries the length of the whole frame.
//! Must never touch: the inside of a record batch, where records come from.

use crate::error::{DecodeError, EncodeError};
use crate::header::encode_response_header;
use crate::messages::api_key::ApiKey;
use crate::reader::Reader;
use crate::response::LENGTH_BYTES;
use crate::topic::{CurrentLeader, NodeEndpoint, TopicRef, encode_endpoints_tag, encode_leader_tag};
use crate::writer::Writer;
use bytes::Bytes;
use coretide_model::TopicId;

const FIRST_VERSION: i16 = 4;
const LAST_VERSION: i16 = 18;
const SESSIONS_FROM: i16 = 7;
const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const REPLICA_STATE_FROM: i16 = 15;
const ENDPOINTS_FROM: i16 = 16;
/// Room for so many holes is taken ahead; of many partitions few have records at a time.
const HOLES_AHEAD: usize = 64;

const fn is_flexible(version: i16) -> bool {
    version >= FLEXIBLE_FROM
}

/// A Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The version it was sent in.
    pub version: i16,
    /// The cluster the client means, if it says so.
    pub cluster_id: Option<String>,
    /// −1 for consumers, a node id for followers.
    pub replica_id: i32,
    /// How long to wait for `min_bytes`, in ms.
    pub max_wait_ms: i32,
    /// Answer at once when that many bytes are there.
    pub min_bytes: i32,
    /// The most bytes of records, the first batch aside.
    pub max_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
    /// The fetch session (KIP-227), 0 for none.
    pub session_id: i32,
    /// The request's number in its session; 0 creates one, −1 is without.
    pub session_epoch: i32,
    /// The topics; their partitions lie in `partitions` one after another.
    pub topics: Vec<FetchTopic>,
    /// The partitions of all topics in request order.
    pub partitions: Vec<FetchPartition>,
    /// What is to leave the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// The consumer's rack, empty for none.
    pub rack_id: String,
}

/// A topic of a Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Its name; empty from version 13 on.
    pub name: String,
    /// Its id; zero before version 13.
    pub topic_id: TopicId,
    /// How many of `FetchRequest::partitions` are its own.
    pub partition_count: usize,
}

/// What a Fetch request wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic's place in `FetchRequest::topics`.
    pub topic_place: u32,
    /// The partition's index.
    pub index: i32,
    /// The leader epoch that the client knows, −1 for none.
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// The epoch of the last record the client has, −1 for none.
    pub last_fetched_epoch: i32,
    /// A follower's log start offset, else −1.
    pub log_start_offset: i64,
    /// The most bytes of this partition.
    pub max_bytes: i32,
}

/// Partitions that a client takes out of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The topic's name; empty from version 13 on.
    pub name: String,
    /// The topic's id; zero before version 13.
    pub topic_id: TopicId,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// Reads the body at `r`.
    pub fn decode(r: &mut Reader<'_>, version: i16) -> Result<FetchRequest, DecodeError> {
        if !(FIRST_VERSION..=LAST_VERSION).contains(&version) {
            return Err(DecodeError::Version { message: "FetchRequest", version });
        }
        let flexible = is_flexible(version);
        let mut replica_id = if version < REPLICA_STATE_FROM { r.i32()? } else { -1 };
        let (max_wait_ms, min_bytes, max_bytes, isolation_level) = (r.i32()?, r.i32()?, r.i32()?, r.i8()?);
        let (session_id, session_epoch) = if version >= SESSIONS_FROM { (r.i32()?, r.i32()?) } else { (0, -1) };
        let mut partitions = Vec::new();
        let mut topic_place = 0;
        let topics = r.array(flexible, min_topic_bytes(version), |r| {
            let (name, topic_id) = decode_topic(r, version)?;
            let read =
                r.array(flexible, min_partition_bytes(version), |r| decode_partition(r, version, topic_place))?;
            if flexible {
                r.skip_tags()?;
            }
            topic_place += 1;
            let partition_count = read.len();
            if partitions.is_empty() {
                partitions = read
            } else {
                partitions.extend(read)
            }
            Ok(FetchTopic { name, topic_id, partition_count })
        })?;
        let forgotten = if version >= SESSIONS_FROM { decode_forgotten(r, version)? } else { Vec::new() };
        let rack_id = if version >= 11 { r.string(flexible)? } else { String::new() };
        let mut cluster_id = None;
        if flexible {
            r.tags(|tag, r| {
                match tag {
                    0 => cluster_id = r.nullable_string(true)?,
                    1 if version >= REPLICA_STATE_FROM => replica_id = r.i32()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(FetchRequest {
            version,
            cluster_id,
            replica_id,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            partitions,
            forgotten,
            rack_id,
        })
    }
}

fn decode_topic(r: &mut Reader<'_>, version: i16) -> Result<(String, TopicId), DecodeError> {
    Ok(match TopicRef::decode(r, version >= TOPIC_IDS_FROM, is_flexible(version))? {
        TopicRef::Name(name) => (name.to_owned(), TopicId::ZERO),
        TopicRef::Id(id) => (String::new(), id),
    })
}

fn decode_partition(r: &mut Reader<'_>, version: i16, topic_place: u32) -> Result<FetchPartition, DecodeError> {
    let index = r.i32()?;
    let current_leader_epoch = if version >= 9 { r.i32()? } else { -1 };
    let fetch_offset = r.i64()?;
    let last_fetched_epoch = if version >= 12 { r.i32()? } else { -1 };
    let log_start_offset = if version >= 5 { r.i64()? } else { -1 };
    let max_bytes = r.i32()?;
    if is_flexible(version) {
        // A follower's directory id and high watermark: of no use to a leader without followers.
        r.skip_tags()?;
    }
    Ok(FetchPartition {
        topic_place,
        index,
        current_leader_epoch,
        fetch_offset,
        last_fetched_epoch,
        log_start_offset,
        max_bytes,
    })
}

fn decode_forgotten(r: &mut Reader<'_>, version: i16) -> Result<Vec<ForgottenTopic>, DecodeError> {
    let flexible = is_flexible(version);
    r.array(flexible, min_topic_bytes(version), |r| {
        let (name, topic_id) = decode_topic(r, version)?;
        let partitions = r.array(flexible, 4, |r| r.i32())?;
        if flexible {
            r.skip_tags()?;
        }
        Ok(ForgottenTopic { name, topic_id, partitions })
    })
}

const fn min_topic_bytes(version: i16) -> usize {
    if version >= TOPIC_IDS_FROM {
        18
    } else if is_flexible(version) {
        3
    } else {
        6
    }
}

const fn min_partition_bytes(version: i16) -> usize {
    let optional = if version >= 12 {
        17
    } else if version >= 9 {
        12
    } else if version >= 5 {
        8
    } else {
        0
    };
    16 + optional
}

/// A part of a Fetch response, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<E> {
    /// Bytes to send as they are.
    Head(Bytes),
    /// Records, as the caller described them.
    Hole(E),
}

/// A Fetch response: what to send, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<E> {
    /// Heads and records. The first head begins with the frame's length.
    pub pieces: Vec<Piece<E>>,
    /// All bytes, the frame's length included.
    pub bytes: u64,
}

/// One partition of a Fetch response, all but its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOutcome<'a> {
    /// The partition's index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// The high watermark, −1 if unknown.
    pub high_watermark: i64,
    /// The last stable offset, −1 if unknown.
    pub last_stable_offset: i64,
    /// The log start offset, −1 if unknown.
    pub log_start_offset: i64,
    /// (producer id, first offset) of aborted transactions in range; `None` under read_uncommitted.
    pub aborted: Option<&'a [(i64, i64)]>,
    /// Which replica the client should rather read from, −1 for this one.
    pub preferred_read_replica: i32,
    /// (epoch, end offset) from which on the client's log differs (KIP-595).
    pub diverging_epoch: Option<(i32, i64)>,
    /// Who leads the partition instead (KIP-951).
    pub current_leader: Option<CurrentLeader>,
}

/// Writes a Fetch response from front to back: topics and partitions in the order they are given.
#[derive(Debug)]
pub struct FetchResponseEncoder<E> {
    w: Writer,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
    /// Holes, each with the place in the buffer before which it belongs.
    holes: Vec<(usize, E)>,
    hole_bytes: u64,
}

impl<E> FetchResponseEncoder<E> {
    /// Starts a frame for that many topics; `partition_count` only sizes the buffers. In versions without sessions the
    /// error and the session id have no place and are left out.
    pub fn new(
        version: i16,
        correlation_id: i32,
        (throttle_time_ms, error_code, session_id): (i32, i16, i32),
        topic_count: usize,
        partition_count: usize,
    ) -> Result<Self, EncodeError> {
        if !(FIRST_VERSION..=LAST_VERSION).contains(&version) {
            return Err(EncodeError::Version { message: "FetchResponse", version });
        }
        let mut w = Writer::with_capacity(48 + topic_count * 40 + partition_count * 56);
        w.i32(0);
        encode_response_header(&mut w, ApiKey::Fetch.code(), version, correlation_id);
        w.i32(throttle_time_ms);
        if version >= SESSIONS_FROM {
            w.i16(error_code);
            w.i32(session_id);
        }
        w.array_len(is_flexible(version), topic_count)?;
        Ok(FetchResponseEncoder {
            w,
            version,
            topics_left: topic_count,
            partitions_left: 0,
            holes: Vec::with_capacity(partition_count.min(HOLES_AHEAD)),
            hole_bytes: 0,
        })
    }

    /// Starts the next topic.
    pub fn topic(&mut self, topic: TopicRef<'_>, partition_count: usize) -> Result<(), EncodeError> {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "the last topic is complete and one was announced");
        assert_eq!(
            matches!(topic, TopicRef::Id(_)),
            self.version >= TOPIC_IDS_FROM,
            "the version says how topics are named"
        );
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        topic.encode(&mut self.w, is_flexible(self.version))?;
        self.w.array_len(is_flexible(self.version), partition_count)?;
        self.end_topic_if_complete();
        Ok(())
    }

    /// The next partition of the topic: its fields, then `records`, which are `record_bytes` long in all. Without
    /// records the client gets an empty set, never null: old clients read its length unasked.
    pub fn partition(
        &mut self,
        outcome: &FetchOutcome<'_>,
        records: impl IntoIterator<Item = E>,
        record_bytes: usize,
    ) -> Result<(), EncodeError> {
        assert!(self.partitions_left > 0, "the topic announced another partition");
        self.partitions_left -= 1;
        let (w, version, flexible) = (&mut self.w, self.version, is_flexible(self.version));
        w.i32(outcome.index);
        w.i16(outcome.error_code);
        w.i64(outcome.high_watermark);
        w.i64(outcome.last_stable_offset);
        if version >= 5 {
            w.i64(outcome.log_start_offset);
        }
        match outcome.aborted {
            None => w.null_array(flexible),
            Some(aborted) => {
                w.array_len(flexible, aborted.len())?;
                for (producer_id, first_offset) in aborted {
                    w.i64(*producer_id);
                    w.i64(*first_offset);
                    if flexible {
                        w.unsigned_varint(0);
                    }
                }
            }
        }
        if version >= 11 {
            w.i32(outcome.preferred_read_replica);
        }
        w.array_len(flexible, record_bytes)?;
        if record_bytes > 0 {
            let place = w.len();
            self.holes.extend(records.into_iter().map(|extent| (place, extent)));
            self.hole_bytes += record_bytes as u64;
        }
        if flexible {
            encode_partition_tags(w, outcome);
        }
        self.end_topic_if_complete();
        Ok(())
    }

    /// Ends the frame and cuts it at the holes.
    pub fn finish(mut self, endpoints: &[NodeEndpoint]) -> Result<FetchResponse<E>, EncodeError> {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "everything announced was written");
        if self.version >= ENDPOINTS_FROM {
            encode_endpoints_tag(&mut self.w, endpoints)?;
        } else if is_flexible(self.version) {
            self.w.unsigned_varint(0);
        }
        let bytes = self.w.len() as u64 + self.hole_bytes;
        let length = i32::try_from(bytes - LENGTH_BYTES as u64).map_err(|_| EncodeError::TooLong(bytes as usize))?;
        self.w.patch_i32(0, length);
        let heads = self.w.into_bytes();
        let mut pieces = Vec::with_capacity(2 * self.holes.len() + 1);
        let mut from = 0;
        for (place, extent) in self.holes {
            if place > from {
                pieces.push(Piece::Head(heads.slice(from..place)));
                from = place;
            }
            pieces.push(Piece::Hole(extent));
        }
        if from < heads.len() {
            pieces.push(Piece::Head(heads.slice(from..)));
        }
        Ok(FetchResponse { pieces, bytes })
    }

    fn end_topic_if_complete(&mut self) {
        if self.partitions_left == 0 && is_flexible(self.version) {
            self.w.unsigned_varint(0);
        }
    }
}

fn encode_partition_tags(w: &mut Writer, outcome: &FetchOutcome<'_>) {
    w.unsigned_varint(u32::from(outcome.diverging_epoch.is_some()) + u32::from(outcome.current_leader.is_some()));
    if let Some((epoch, end_offset)) = outcome.diverging_epoch {
        w.unsigned_varint(0);
        w.unsigned_varint(13);
        w.i32(epoch);
        w.i64(end_offset);
        w.unsigned_varint(0);
    }
    if let Some(leader) = outcome.current_leader {
        encode_leader_tag(w, 1, leader);
    }
}
