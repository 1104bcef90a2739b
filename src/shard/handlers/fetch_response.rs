//! The answer to a Fetch: byte budgets in request order (F2), what the session has to be told (F7), and the frame.
//! Must never touch: waiting, reading.

use coretide_log::batch::LENGTH_OVERHEAD_BYTES;
use coretide_log::store::{Extent, Extents};
use coretide_model::ErrorCode;
use coretide_partition::Marks;
use coretide_wire::TopicRef;
use coretide_wire::fetch::{FetchOutcome, FetchResponse, FetchResponseEncoder, Piece};
use smallvec::SmallVec;

use super::fetch::{FetchWait, Part, SessionUse};
use super::fetch_session::{NO_SESSION, Told, TopicKey};
use super::{Handled, Head, Outcome};
use crate::event::Response;
use crate::mail::ReadPart;
use crate::shard::Shard;

/// Nothing is known of the partition.
const NO_MARKS: Marks = Marks { log_start_offset: -1, last_stable_offset: -1, high_watermark: -1, log_end_offset: -1 };

/// What one partition may give, when so much is left of the request's budget: the first records go whole, others only
/// within both limits.
struct Budget {
    left_bytes: usize,
    found: bool,
}

impl Budget {
    fn new(max_bytes: u32) -> Budget {
        Budget { left_bytes: max_bytes as usize, found: false }
    }

    /// How many of the bytes read may go. Fewer than all only when a batch boundary must be looked for.
    fn grant(&mut self, part: &Part, read: &ReadPart) -> usize {
        let limit = self.left_bytes.min(usize::try_from(part.wanted.max_bytes).unwrap_or(0));
        let granted = match () {
            () if read.bytes <= limit => read.bytes,
            () if self.found => whole_batches(&read.extents, limit),
            () => whole_batches(&read.extents, limit)
                .max(first_batch(&read.extents).unwrap_or(read.bytes))
                .min(read.bytes),
        };
        self.found |= granted > 0;
        self.left_bytes = self.left_bytes.saturating_sub(granted);
        granted
    }
}

/// The bytes of the whole batches within `limit` at the front of extents in memory. Of what lies in files the batches
/// are not known, and nothing is given: the client asks again.
fn whole_batches(extents: &Extents, limit: usize) -> usize {
    let (mut whole, mut position) = (0, 0);
    // The batch in progress ends here; batches may go across extents, but their lengths do not.
    let mut end = 0;
    for extent in extents {
        let Extent::Hot(bytes) = extent else { break };
        while end < position + bytes.len() {
            let Some(head) = bytes.get(end - position..end - position + LENGTH_OVERHEAD_BYTES) else { return whole };
            let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
            end += LENGTH_OVERHEAD_BYTES + usize::try_from(length).unwrap_or(usize::MAX >> 1);
            if end > limit {
                return whole;
            }
            whole = end;
        }
        position += bytes.len();
    }
    whole.min(position)
}

/// The bytes of the first batch, when its head is in memory.
fn first_batch(extents: &Extents) -> Option<usize> {
    let Some(Extent::Hot(bytes)) = extents.first() else { return None };
    let head = bytes.first_chunk::<LENGTH_OVERHEAD_BYTES>()?;
    let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    Some(LENGTH_OVERHEAD_BYTES + usize::try_from(length).ok()?).filter(|_| length > 0)
}

/// How many bytes of records an answer would have now.
pub(super) fn bytes_within_budget(wait: &FetchWait) -> u64 {
    let mut budget = Budget::new(wait.max_bytes);
    let reads = wait.parts.iter().filter_map(|part| Some((part, part.read.as_deref()?)));
    reads.map(|(part, read)| budget.grant(part, read) as u64).sum()
}

/// The first `bytes` of the extents.
fn cut(extents: Extents, bytes: usize) -> Extents {
    let mut left = bytes;
    let mut kept = Extents::new();
    for extent in extents {
        if left == 0 {
            break;
        }
        let take = extent.len().min(left);
        left -= take;
        kept.push(match extent {
            Extent::Hot(bytes) => Extent::Hot(bytes.slice(..take)),
            Extent::File { file, at, .. } => Extent::File { file, at, len: take as u32 },
        });
    }
    kept
}

/// An answer that is only an error (70, 71, 106).
pub(super) fn answer_error(head: &Head, error: ErrorCode) -> Handled {
    let encoder = FetchResponseEncoder::new(head.version, head.correlation_id, (0, error.code(), NO_SESSION), 0, 0)?;
    Ok(Outcome::Answer(to_response(encoder.finish(&[])?)))
}

/// The answer with what was read.
pub(super) fn answer(shard: &mut Shard, head: &Head, wait: &mut FetchWait) -> Handled {
    let fair_bytes = u32::try_from(shard.memory.answer_bytes()).unwrap_or(u32::MAX);
    let mut budget = Budget::new(wait.max_bytes.min(fair_bytes));
    for part in &mut wait.parts {
        let Some(mut read) = part.read.take() else { continue };
        let granted = budget.grant(part, &read);
        if granted < read.bytes {
            read.extents = cut(read.extents, granted);
            read.bytes = granted;
        }
        part.read = Some(read);
    }
    let session_id = match tell_session(shard, wait) {
        Ok(session_id) => session_id,
        Err(error) => return answer_error(head, error),
    };
    count_bytes(shard, wait);
    let topic_count = wait.parts.chunk_by(|a, b| a.topic == b.topic).count();
    let counts = (topic_count, wait.parts.len());
    let start = (0, ErrorCode::None.code(), session_id);
    let mut encoder = FetchResponseEncoder::new(head.version, head.correlation_id, start, counts.0, counts.1)?;
    let mut aborted = Vec::new();
    for parts in wait.parts.chunk_by_mut(|a, b| a.topic == b.topic) {
        let topic = match &parts[0].topic {
            TopicKey::Name(name) => TopicRef::Name(name),
            TopicKey::Id(id) => TopicRef::Id(*id),
        };
        encoder.topic(topic, parts.len())?;
        for part in parts.iter_mut() {
            encode_part(&mut encoder, part, &mut aborted)?;
        }
    }
    Ok(Outcome::Answer(to_response(encoder.finish(&[])?)))
}

fn encode_part(
    encoder: &mut FetchResponseEncoder<Extent>,
    part: &mut Part,
    aborted: &mut Vec<(i64, i64)>,
) -> Result<(), coretide_wire::EncodeError> {
    let told = tell(part);
    let read = part.read.take();
    let marks = read.as_ref().map_or(NO_MARKS, |read| read.marks);
    aborted.clear();
    let list = read.as_ref().and_then(|read| read.aborted.as_ref());
    aborted.extend(list.into_iter().flatten().map(|aborted| (aborted.producer_id, aborted.first_offset)));
    let outcome = FetchOutcome {
        index: part.index,
        error_code: told.error.code(),
        high_watermark: marks.high_watermark,
        last_stable_offset: marks.last_stable_offset,
        log_start_offset: marks.log_start_offset,
        aborted: list.map(|_| aborted.as_slice()),
        preferred_read_replica: -1,
        diverging_epoch: read.as_ref().and_then(|read| read.diverging).map(|end| (end.epoch, end.end_offset)),
        current_leader: None,
    };
    let (extents, bytes) = read.map_or((Extents::new(), 0), |read| (read.extents, read.bytes));
    encoder.partition(&outcome, extents, bytes)
}

/// What the answer says about a partition.
fn tell(part: &Part) -> Told {
    let error = match (&part.tp, &part.read) {
        (Err(error), _) => *error,
        (Ok(_), Some(read)) => read.error,
        (Ok(_), None) => ErrorCode::None,
    };
    let marks = part.read.as_ref().map_or(NO_MARKS, |read| read.marks);
    Told {
        error,
        has_records: part.read.as_ref().is_some_and(|read| read.bytes > 0),
        diverging: part.read.as_ref().is_some_and(|read| read.diverging.is_some()),
        high_watermark: marks.high_watermark,
        log_start_offset: marks.log_start_offset,
    }
}

/// Makes the session that was asked for, or leaves out what its client knows already. Returns the session's id.
fn tell_session(shard: &mut Shard, wait: &mut FetchWait) -> Result<i32, ErrorCode> {
    match wait.session {
        SessionUse::None => Ok(NO_SESSION),
        SessionUse::Create => {
            let wanted = wait.parts.iter().map(|part| (part.topic.clone(), part.index, part.wanted));
            let by_ids = matches!(wait.parts.first(), Some(Part { topic: TopicKey::Id(_), .. }));
            let created = shard.fetch_sessions.create(shard.now.mono_us, by_ids, wanted);
            let id = created.map_or(NO_SESSION, |(id, session)| {
                // A partition that was named twice has one number.
                let numbers: Vec<u64> = session.partitions().map(|(order, _)| order).collect();
                if numbers.len() == wait.parts.len() {
                    for (part, order) in wait.parts.iter().zip(numbers) {
                        session.tell(order, &tell(part));
                    }
                }
                id
            });
            shard.metrics.fetch_sessions_refused += u64::from(id == NO_SESSION);
            shard.metrics.fetch_sessions_made = shard.fetch_sessions.made;
            shard.metrics.fetch_sessions_evicted = shard.fetch_sessions.evicted;
            Ok(id)
        }
        SessionUse::Incremental { id, epoch } => {
            let session = shard.fetch_sessions.answering(id, epoch)?;
            wait.parts.retain(|part| session.tell(part.order, &tell(part)));
            Ok(id)
        }
    }
}

fn count_bytes(shard: &mut Shard, wait: &FetchWait) {
    for read in wait.parts.iter().filter_map(|part| part.read.as_ref()) {
        for extent in &read.extents {
            let bytes = extent.len() as u64;
            match extent {
                Extent::Hot(_) if read.from_disk => shard.metrics.bytes_cold += bytes,
                Extent::Hot(_) => shard.metrics.bytes_hot += bytes,
                Extent::File { .. } => shard.metrics.bytes_file += bytes,
            }
        }
    }
}

fn to_response(response: FetchResponse<Extent>) -> Response {
    let extents: SmallVec<[Extent; 1]> = response
        .pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Head(bytes) => Extent::Hot(bytes),
            Piece::Hole(extent) => extent,
        })
        .collect();
    Response { extents, bytes: response.bytes }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use coretide_log::io::{FileId, SegmentFile};
    use proptest::prelude::*;

    use super::*;
    use crate::handlers::fetch_session::Wanted;
    use coretide_model::{TopicId, TopicPartition};

    /// Batches of these sizes, cut into extents at these places.
    fn hot(sizes: &[usize], cuts: &[usize]) -> Extents {
        let mut all = Vec::new();
        for size in sizes {
            let mut batch = vec![0u8; *size];
            batch[8..12].copy_from_slice(&((*size - LENGTH_OVERHEAD_BYTES) as i32).to_be_bytes());
            all.extend(batch);
        }
        let all = Bytes::from(all);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (all.len() + 1)).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|ends| Extent::Hot(all.slice(ends[0]..ends[1]))).collect()
    }

    fn file(len: u32) -> Extents {
        let file = FileId::Segment { dir: Arc::from("t-0"), base_offset: 0, kind: SegmentFile::Log };
        Extents::from_iter([Extent::File { file, at: 0, len }])
    }

    fn granted(budget: &mut Budget, max_bytes: i32, extents: Extents) -> usize {
        let bytes = extents.iter().map(Extent::len).sum();
        let wanted = Wanted { current_leader_epoch: -1, fetch_offset: 0, last_fetched_epoch: -1, max_bytes };
        let tp = TopicPartition { topic_id: TopicId(1), partition: 0 };
        let part = Part { topic: TopicKey::Id(TopicId(1)), index: 0, wanted, order: 0, tp: Ok(tp), read: None };
        let read = ReadPart {
            place: 0,
            error: ErrorCode::None,
            marks: NO_MARKS,
            diverging: None,
            aborted: None,
            extents,
            bytes,
            from_disk: false,
        };
        budget.grant(&part, &read)
    }

    #[test]
    fn f2_the_first_records_go_whole_and_the_rest_within_both_limits() {
        let mut budget = Budget::new(1000);
        assert_eq!(granted(&mut budget, 5000, Extents::new()), 0, "nothing is no first batch");
        assert_eq!(granted(&mut budget, 10, hot(&[700], &[])), 700, "larger than its limit, but the first");
        assert_eq!(granted(&mut budget, 5000, hot(&[200, 200], &[])), 200, "300 are left");
        assert_eq!(granted(&mut budget, 50, hot(&[60], &[])), 0, "its own limit");
        assert_eq!(granted(&mut budget, 5000, file(101)), 0, "batches in files are not known");
        assert_eq!(granted(&mut budget, 5000, file(100)), 100);
        assert_eq!(granted(&mut budget, 5000, hot(&[61], &[])), 0, "nothing is left");
        let mut budget = Budget::new(10);
        assert_eq!(granted(&mut budget, 10, file(4000)), 4000, "KIP-74");
    }

    proptest! {
        #[test]
        fn only_whole_batches_are_cut_off_however_they_lie_in_memory(
            sizes in proptest::collection::vec(61usize..300, 1..8),
            cuts in proptest::collection::vec(any::<usize>(), 0..6),
            limit in 0usize..2000,
        ) {
            let mut expected = 0;
            for size in &sizes {
                if expected + size > limit {
                    break;
                }
                expected += size;
            }
            let whole = whole_batches(&hot(&sizes, &[]), limit);
            prop_assert_eq!(whole, expected);
            let extents = hot(&sizes, &cuts);
            let whole = whole_batches(&extents, limit);
            prop_assert!(whole <= expected, "a head across two extents ends the search early");
            let ends: Vec<usize> = sizes.iter().scan(0, |end, size| { *end += size; Some(*end) }).collect();
            prop_assert!(whole == 0 || ends.contains(&whole));
            let kept = cut(extents, whole);
            prop_assert_eq!(kept.iter().map(Extent::len).sum::<usize>(), whole);
        }
    }
}
