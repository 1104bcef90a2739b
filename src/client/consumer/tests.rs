//! Reading the batches of a fetch answer: positions, transactions, damage.

use super::*;
use bytes::BytesMut;
use coretide_log::batch::patch;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::Compression;

fn batch(base_offset: i64, builder: BatchBuilder) -> BytesMut {
    let mut bytes = BytesMut::from(&builder.build()[..]);
    patch(&mut bytes, base_offset, 4);
    bytes
}

fn data(base_offset: i64, producer: Option<i64>, values: &[&str], codec: Codec) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    if let Some(producer) = producer {
        builder = builder.producer(producer, 0, 0).transactional();
    }
    for value in values {
        builder.push(1000, None, Some(value.as_bytes()), &[]);
    }
    batch(base_offset, builder)
}

fn marker(base_offset: i64, producer: i64, commit: bool) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::default()).producer(producer, 0, -1).transactional().control();
    builder.push(1000, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    batch(base_offset, builder)
}

fn read(bytes: BytesMut, from: i64, aborted: Vec<(i64, i64)>) -> Result<(Vec<(i64, String)>, i64), ClientError> {
    let topic: Arc<str> = Arc::from("t");
    let position = Position { offset: from, leader_epoch: -1, end_offset: None };
    let mut reader = BatchReader { topic: &topic, partition: 0, position, aborted, open: BTreeSet::new() };
    let mut records = Vec::new();
    reader.read(&bytes.freeze(), &mut records)?;
    let text = |record: &Incoming| String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap();
    Ok((records.iter().map(|record| (record.offset, text(record))).collect(), reader.position.offset))
}

#[test]
fn records_before_the_position_are_skipped_and_a_cut_off_tail_is_left() {
    for codec in Codec::ALL {
        let mut bytes = data(10, None, &["a", "b", "c"], codec);
        bytes.extend_from_slice(&data(13, None, &["d"], codec)[..40]);
        let (records, next) = read(bytes, 11, Vec::new()).unwrap();
        assert_eq!(records, [(11, "b".to_string()), (12, "c".to_string())]);
        assert_eq!(next, 13);
    }
}

#[test]
fn aborted_transactions_are_hidden_and_later_ones_of_the_producer_are_not() {
    let mut bytes = data(0, Some(7), &["aborted"], Codec::None);
    bytes.extend_from_slice(&data(1, Some(8), &["other"], Codec::None));
    bytes.extend_from_slice(&data(2, None, &["plain"], Codec::None));
    bytes.extend_from_slice(&marker(3, 7, false));
    bytes.extend_from_slice(&data(4, Some(7), &["committed"], Codec::None));
    bytes.extend_from_slice(&marker(5, 7, true));
    bytes.extend_from_slice(&data(6, Some(7), &["aborted again"], Codec::None));
    let (records, next) = read(bytes, 0, vec![(6, 7), (0, 7)]).unwrap();
    let values: Vec<&str> = records.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!((values, next), (vec!["other", "plain", "committed"], 7));
}

#[test]
fn damage_is_reported_with_its_place() {
    let mut bytes = data(20, None, &["value"], Codec::Gzip);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = read(bytes, 20, Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::Damaged { offset: 20, .. }), "{error}");
    let cut = BytesMut::from(&data(20, None, &["value"], Codec::None)[..50]);
    assert!(matches!(read(cut, 20, Vec::new()), Err(ClientError::Damaged { .. })));
}
