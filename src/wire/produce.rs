//! Produce by hand: the request is walked in its frame, the response is written in one go.
//!
//! [`ProduceRequestView::decode`] checks every length of the whole request before the first partition is handed out, so
//! that no request takes effect in part. Records are slices of the frame.
//! Must never touch: the inside of a record batch.

use crate::error::{DecodeError, EncodeError};
use crate::header::encode_response_header;
use crate::messages::api_key::ApiKey;
use crate::reader::Reader;
use crate::response::LENGTH_BYTES;
use crate::topic::{CurrentLeader, NodeEndpoint, TopicRef, encode_endpoints_tag, encode_leader_tag};
use crate::writer::Writer;
use bytes::Bytes;

const FIRST_VERSION: i16 = 3;
const LAST_VERSION: i16 = 13;
const FLEXIBLE_FROM: i16 = 9;
const TOPIC_IDS_FROM: i16 = 13;
const RECORD_ERRORS_FROM: i16 = 8;
const LEADER_HINTS_FROM: i16 = 10;

const fn is_flexible(version: i16) -> bool {
    version >= FLEXIBLE_FROM
}

/// A Produce request in its frame, known to be well formed.
#[derive(Clone, Debug)]
pub struct ProduceRequestView<'a> {
    /// The version it was sent in.
    pub version: i16,
    /// The producer's transactional id.
    pub transactional_id: Option<&'a str>,
    /// How many replicas must have it: 0, 1 or −1 for all; anything else is for the handler to refuse.
    pub acks: i16,
    /// How long the client waits, in ms.
    pub timeout_ms: i32,
    /// How many topics it names.
    pub topic_count: usize,
    /// How many partitions it names in all.
    pub partition_count: usize,
    /// Stands at the first topic.
    topics: Reader<'a>,
}

/// What a Produce request brings for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition<'a> {
    /// The partition's topic.
    pub topic: TopicRef<'a>,
    /// The topic's place in the request: partitions of one topic entry share it.
    pub topic_place: usize,
    /// The partition's index.
    pub index: i32,
    /// Its records, unchecked.
    pub records: Option<Bytes>,
}

impl<'a> ProduceRequestView<'a> {
    /// Checks the body at `r` (behind the header) from end to end.
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<ProduceRequestView<'a>, DecodeError> {
        if !(FIRST_VERSION..=LAST_VERSION).contains(&version) {
            return Err(DecodeError::Version { message: "ProduceRequest", version });
        }
        let flexible = is_flexible(version);
        let transactional_id = r.nullable_str(flexible)?;
        let (acks, timeout_ms) = (r.i16()?, r.i32()?);
        let topic_count = r.count(flexible, min_topic_bytes(version))?.ok_or(DecodeError::Null)?;
        let topics = r.clone();
        let mut partition_count = 0;
        for _ in 0..topic_count {
            TopicRef::decode(r, version >= TOPIC_IDS_FROM, flexible)?;
            let count = r.count(flexible, min_partition_bytes(version))?.ok_or(DecodeError::Null)?;
            for _ in 0..count {
                r.i32()?;
                r.skip_nullable_bytes(flexible)?;
                skip_tags_if(r, flexible)?;
            }
            skip_tags_if(r, flexible)?;
            partition_count += count;
        }
        skip_tags_if(r, flexible)?;
        Ok(ProduceRequestView { version, transactional_id, acks, timeout_ms, topic_count, partition_count, topics })
    }

    /// The partitions in request order, across topics. A topic entry without partitions does not show here.
    pub fn partitions(&self) -> ProducePartitions<'a> {
        ProducePartitions {
            reader: self.topics.clone(),
            version: self.version,
            topics_left: self.topic_count,
            topic: None,
            partitions_left: 0,
        }
    }

    /// The outline of it, for the response: it stays when the frame is no longer borrowed.
    pub fn outline(&self) -> ProduceOutline {
        let ProduceRequestView { version, topic_count, partition_count, .. } = *self;
        ProduceOutline { version, topics_at: self.topics.position(), topic_count, partition_count }
    }
}

/// Where the topics of a Produce request are in a frame that [`ProduceRequestView::decode`] has checked.
#[derive(Clone, Copy, Debug)]
pub struct ProduceOutline {
    version: i16,
    topics_at: usize,
    topic_count: usize,
    partition_count: usize,
}

/// What a response has one place for, in the order of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducePlace<'a> {
    /// A topic entry, with so many partitions behind it.
    Topic(TopicRef<'a>, usize),
    /// A partition of that topic entry, by its index.
    Partition(i32),
}

impl ProduceOutline {
    /// Starts the response.
    pub fn response(&self, correlation_id: i32) -> Result<ProduceResponseEncoder, EncodeError> {
        ProduceResponseEncoder::new(self.version, correlation_id, self.topic_count, self.partition_count)
    }

    /// The places of the response. `frame` is the request's, the one that was checked: places end where it is another.
    pub fn places<'a>(&self, frame: &'a Bytes) -> impl Iterator<Item = ProducePlace<'a>> + use<'a> {
        let mut reader = Reader::new(frame);
        let found = reader.take(self.topics_at).is_ok();
        let topics_left = if found { self.topic_count } else { 0 };
        let mut walk = PlaceWalk { reader, version: self.version, topics_left, partitions_left: 0 };
        std::iter::from_fn(move || walk.step().ok().flatten())
    }
}

struct PlaceWalk<'a> {
    reader: Reader<'a>,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
}

impl<'a> PlaceWalk<'a> {
    fn step(&mut self) -> Result<Option<ProducePlace<'a>>, DecodeError> {
        let (r, flexible) = (&mut self.reader, is_flexible(self.version));
        let place = if self.partitions_left > 0 {
            self.partitions_left -= 1;
            let index = r.i32()?;
            r.skip_nullable_bytes(flexible)?;
            skip_tags_if(r, flexible)?;
            ProducePlace::Partition(index)
        } else if self.topics_left > 0 {
            self.topics_left -= 1;
            let topic = TopicRef::decode(r, self.version >= TOPIC_IDS_FROM, flexible)?;
            self.partitions_left = r.count(flexible, min_partition_bytes(self.version))?.ok_or(DecodeError::Null)?;
            ProducePlace::Topic(topic, self.partitions_left)
        } else {
            return Ok(None);
        };
        if self.partitions_left == 0 {
            skip_tags_if(r, flexible)?;
        }
        Ok(Some(place))
    }
}

/// The partitions of a Produce request.
#[derive(Clone, Debug)]
pub struct ProducePartitions<'a> {
    reader: Reader<'a>,
    version: i16,
    topics_left: usize,
    topic: Option<(TopicRef<'a>, usize)>,
    partitions_left: usize,
}

impl<'a> ProducePartitions<'a> {
    fn step(&mut self) -> Result<Option<ProducePartition<'a>>, DecodeError> {
        let flexible = is_flexible(self.version);
        let r = &mut self.reader;
        while self.partitions_left == 0 {
            if self.topics_left == 0 {
                return Ok(None);
            }
            self.topics_left -= 1;
            let place = self.topic.map_or(0, |(_, place)| place + 1);
            self.topic = Some((TopicRef::decode(r, self.version >= TOPIC_IDS_FROM, flexible)?, place));
            self.partitions_left = r.count(flexible, min_partition_bytes(self.version))?.ok_or(DecodeError::Null)?;
            if self.partitions_left == 0 {
                skip_tags_if(r, flexible)?;
            }
        }
        let Some((topic, topic_place)) = self.topic else { return Ok(None) };
        let index = r.i32()?;
        let records = r.nullable_bytes(flexible)?;
        skip_tags_if(r, flexible)?;
        self.partitions_left -= 1;
        if self.partitions_left == 0 {
            skip_tags_if(r, flexible)?;
        }
        Ok(Some(ProducePartition { topic, topic_place, index, records }))
    }
}

impl<'a> Iterator for ProducePartitions<'a> {
    type Item = ProducePartition<'a>;

    fn next(&mut self) -> Option<ProducePartition<'a>> {
        let step = self.step();
        debug_assert!(step.is_ok(), "decode walked the same bytes");
        step.ok().flatten()
    }
}

fn skip_tags_if(r: &mut Reader<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible { r.skip_tags() } else { Ok(()) }
}

const fn min_partition_bytes(version: i16) -> usize {
    if is_flexible(version) { 6 } else { 8 }
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

/// One partition's outcome in a Produce response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceOutcome<'a> {
    /// The partition's index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// The offset of the batch's first record; −1 with an error.
    pub base_offset: i64,
    /// When the log appended it, for topics with LogAppendTime; else −1.
    pub log_append_time_ms: i64,
    /// The partition's log start offset; −1 if unknown.
    pub log_start_offset: i64,
    /// Which records were at fault and why (KIP-467; versions 8 and up).
    pub record_errors: &'a [(i32, Option<String>)],
    /// What was wrong in words (versions 8 and up).
    pub error_message: Option<&'a str>,
    /// Who leads the partition instead (versions 10 and up).
    pub current_leader: Option<CurrentLeader>,
}

/// Writes a Produce response from front to back into one buffer: topics and partitions in the request's order.
#[derive(Debug)]
pub struct ProduceResponseEncoder {
    w: Writer,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
}

impl ProduceResponseEncoder {
    /// Starts a frame for that many topics; `partition_count` only sizes the buffer.
    pub fn new(
        version: i16,
        correlation_id: i32,
        topic_count: usize,
        partition_count: usize,
    ) -> Result<Self, EncodeError> {
        if !(FIRST_VERSION..=LAST_VERSION).contains(&version) {
            return Err(EncodeError::Version { message: "ProduceResponse", version });
        }
        let mut w = Writer::with_capacity(32 + topic_count * 40 + partition_count * 40);
        w.i32(0);
        encode_response_header(&mut w, ApiKey::Produce.code(), version, correlation_id);
        w.array_len(is_flexible(version), topic_count)?;
        Ok(ProduceResponseEncoder { w, version, topics_left: topic_count, partitions_left: 0 })
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

    /// The next partition of the topic.
    pub fn partition(&mut self, outcome: &ProduceOutcome<'_>) -> Result<(), EncodeError> {
        assert!(self.partitions_left > 0, "the topic announced another partition");
        self.partitions_left -= 1;
        let (w, flexible) = (&mut self.w, is_flexible(self.version));
        w.i32(outcome.index);
        w.i16(outcome.error_code);
        w.i64(outcome.base_offset);
        w.i64(outcome.log_append_time_ms);
        if self.version >= 5 {
            w.i64(outcome.log_start_offset);
        }
        if self.version >= RECORD_ERRORS_FROM {
            w.array_len(flexible, outcome.record_errors.len())?;
            for (place, message) in outcome.record_errors {
                w.i32(*place);
                w.nullable_string(flexible, message.as_deref())?;
                if flexible {
                    w.unsigned_varint(0);
                }
            }
            w.nullable_string(flexible, outcome.error_message)?;
        }
        if flexible {
            let leader = outcome.current_leader.filter(|_| self.version >= LEADER_HINTS_FROM);
            w.unsigned_varint(u32::from(leader.is_some()));
            if let Some(leader) = leader {
                encode_leader_tag(w, 0, leader);
            }
        }
        self.end_topic_if_complete();
        Ok(())
    }

    /// Ends the frame; its length is in front.
    pub fn finish(mut self, throttle_time_ms: i32, endpoints: &[NodeEndpoint]) -> Result<Bytes, EncodeError> {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "everything announced was written");
        self.w.i32(throttle_time_ms);
        if self.version >= LEADER_HINTS_FROM {
            encode_endpoints_tag(&mut self.w, endpoints)?;
        } else if is_flexible(self.version) {
            self.w.unsigned_varint(0);
        }
        let length = self.w.len() - LENGTH_BYTES;
        self.w.patch_i32(0, i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?);
        Ok(self.w.into_bytes())
    }

    fn end_topic_if_complete(&mut self) {
        if self.partitions_left == 0 && is_flexible(self.version) {
            self.w.unsigned_varint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame that aborts kafka-protocol 0.18: two billion topics in eleven bytes.
    #[test]
    fn an_eleven_byte_body_that_claims_billions_of_topics_is_refused() {
        let frame = Bytes::from_static(&[0, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0x7f]);
        let refused = ProduceRequestView::decode(&mut Reader::new(&frame), 9);
        assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{refused:?}");
    }

    #[test]
    fn a_request_cut_off_anywhere_is_refused_whole() {
        let body: &[u8] = b"\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\x02ab";
        let whole = Bytes::from_static(body);
        let view = ProduceRequestView::decode(&mut Reader::new(&whole), 3).unwrap();
        let partitions: Vec<_> = view.partitions().collect();
        assert_eq!(partitions.len(), 1);
        assert_eq!(partitions[0].records.as_deref(), Some(&b"ab"[..]));
        assert_eq!(partitions[0].records.as_ref().unwrap().as_ptr(), whole[whole.len() - 2..].as_ptr(), "not copied");
        for end in 0..body.len() {
            assert!(ProduceRequestView::decode(&mut Reader::new(&whole.slice(..end)), 3).is_err(), "{end}");
        }
    }
}
