//! What the fuzz targets call: any bytes may come in, nothing may panic, and what was accepted must survive a round
//! trip. Shared with `src/wire/fuzz`.

use bytes::Bytes;
use coretide_wire::header::{decode_request_header, decode_response_header};
use coretide_wire::produce::ProduceRequestView;
use coretide_wire::records::{GroupRecordKey, MetadataRecord, decode_versioned, decode_versioned_or_newer};
use coretide_wire::{Message, Reader, fetch, messages};

/// A decoder under test.
pub type Entry = fn(&Bytes, i16);

/// Every hand-written decoder, by name; the generated ones are in [`message`].
pub const ENTRIES: &[(&str, Entry)] =
    &[("header", header), ("produce", produce), ("fetch", fetch), ("records", records)];

/// Request and response headers.
pub fn header(bytes: &Bytes, version: i16) {
    let mut r = Reader::new(bytes);
    if decode_request_header(&mut r).is_ok() {
        assert!(r.position() <= bytes.len());
    }
    for api_key in [0, 3, 18] {
        let _ = decode_response_header(&mut Reader::new(bytes), api_key, version);
    }
}

/// The Produce view: it accepts exactly what the generated decoder accepts.
pub fn produce(bytes: &Bytes, version: i16) {
    let view = ProduceRequestView::decode(&mut Reader::new(bytes), version);
    if let Ok(view) = &view {
        assert_eq!(view.partitions().count(), view.partition_count);
        assert_eq!(view.outline().places(bytes).count(), view.topic_count + view.partition_count);
    }
    let oracle = messages::produce::ProduceRequest::decode(&mut Reader::new(bytes), version);
    // The generated form may run out of its memory budget where the view needs no memory.
    assert!(view.is_ok() || oracle.is_err());
}

/// The Fetch request: it accepts what the generated decoder accepts.
pub fn fetch(bytes: &Bytes, version: i16) {
    let lean = fetch::FetchRequest::decode(&mut Reader::new(bytes), version);
    if let Ok(request) = &lean {
        assert_eq!(request.topics.iter().map(|t| t.partition_count).sum::<usize>(), request.partitions.len());
    }
    let oracle = messages::fetch::FetchRequest::decode(&mut Reader::new(bytes), version);
    assert!(lean.is_ok() || oracle.is_err());
}

/// Records with their framing.
pub fn records(bytes: &Bytes, _version: i16) {
    use messages::records::*;
    if let Ok(record) = MetadataRecord::decode(bytes) {
        assert!((0..=2).any(|version| record.encode(version).is_ok()), "{record:?}");
    }
    if let Ok(key) = GroupRecordKey::decode(bytes) {
        let written = key.encode().expect("what was read can be written");
        assert_eq!(GroupRecordKey::decode(&written), Ok(key));
    }
    let _ = decode_versioned::<OffsetCommitValue>(bytes);
    let _ = decode_versioned::<GroupMetadataValue>(bytes);
    let _ = decode_versioned::<ProducerSnapshot>(bytes);
    let _ = decode_versioned_or_newer::<ConsumerProtocolSubscription>(bytes);
    let _ = decode_versioned_or_newer::<ConsumerProtocolAssignment>(bytes);
}

/// A generated decoder: what it accepts, its encoder writes, and reads back as the same.
pub fn message<M: Message>(bytes: &Bytes, version: i16) {
    if let Ok(message) = M::decode(&mut Reader::new(bytes), version) {
        let written = message.to_bytes(version).unwrap_or_else(|e| panic!("{} v{version}: {e}", M::NAME));
        assert_eq!(M::decode(&mut Reader::new(&written), version), Ok(message), "{} v{version}", M::NAME);
    }
}
