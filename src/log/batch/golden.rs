//! Batches that Apache Kafka 4.3.1's console producer wrote, one with each codec: what the Java client's compressors
//! really put on the wire.

use bytes::Bytes;
use coretide_model::TopicConfig;

use super::*;
use crate::codec::Codec;
use crate::samples::read_back;

const WRITTEN_BY_JAVA: [(Codec, &str); 5] = [
    (
        Codec::None,
        concat!(
            "00000000000000000000007800000000021621cf9a000000000002000001a1fdd0f761000001a1fdd0f779000000000000000b00",
            "00000000000000000326000000046b311666697273742076616c7565004c003002046b323c7365636f6e642076616c7565207661",
            "6c75652076616c75652076616c75650016003004010a746869726400",
        ),
    ),
    (
        Codec::Gzip,
        concat!(
            "000000000000000300000077000000000290369a56000100000002000001a1fdd0fe19000001a1fdd0fe4a000000000000000c00",
            "0000000000000000031f8b08000000000000ff5363606060c936144bcb2c2a2e51284bcc294d65f061486262c936b2294e4dcecf",
            "4b810862920c620c492c8c5c25199945290c00de66253a47000000",
        ),
    ),
    (
        Codec::Snappy,
        concat!(
            "00000000000000060000007e00000000027a9981ec000200000002000001a1fdd1069a000001a1fdd10745000000000000000d00",
            "00000000000000000382534e4150505900000000010000000100000039498826000000046b311666697273742076616c7565004e",
            "00d60202046b323c7365636f6e64091646060034001800d60204010a746869726400",
        ),
    ),
    (
        Codec::Lz4,
        concat!(
            "0000000000000009000000790000000002e7320305000300000002000001a1fdd10ec0000001a1fdd10f02000000000000000e00",
            "00000000000000000304224d1860408239000000f21426000000046b311666697273742076616c7565004e00840102046b323c73",
            "65636f6e6416000e0600e0001800840104010a74686972640000000000",
        ),
    ),
    (
        Codec::Zstd,
        concat!(
            "000000000000000c000000780000000002ad4c5d9f000400000002000001a1fdd11607000001a1fdd11665000000000000000f00",
            "00000000000000000328b52ffd0058dc0100140326000000046b311666697273742076616c7565004e00bc0102046b323c736563",
            "6f6e64001800bc0104010a7468697264000200291e2c87f904010000",
        ),
    ),
];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn what_java_compressed_is_read() {
    for (codec, hex) in WRITTEN_BY_JAVA {
        let mut batch = bytes_of(hex);
        assert_eq!(check_crc(&batch).unwrap().codec(), Ok(codec));
        let records = read_back(&batch);
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
        let keys: Vec<_> = records.iter().map(|record| text(&record.key)).collect();
        assert_eq!(keys, [Some("k1".to_string()), Some("k2".to_string()), None], "{codec}");
        assert_eq!(text(&records[1].value).as_deref(), Some("second value value value value"), "{codec}");
        patch(&mut batch, 0, -1);
        let now_ms = records[0].timestamp_ms;
        let rules = ProduceRules::from_config(&TopicConfig::default(), now_ms);
        let verified = verify_produced(Bytes::from(batch.clone()), &rules).unwrap();
        assert_eq!(verified.bytes(), &batch, "{codec}: nothing had to be rewritten");
    }
}
