//! Every codec: round trips, both forms of snappy, caps, and input that lies.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(Compression::of(codec), input, &mut out);
    out
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..300), vec(97u8..100, 0..200_000)]
}

fn squeezing() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL[1..].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_codec_gives_back_what_it_took(codec in crate::samples::codecs(), input in texts()) {
        let packed = compressed(codec, &input);
        prop_assert_eq!(decompress(codec, &packed, input.len() as u64).unwrap(), input.clone());
        if !input.is_empty() {
            let limit = input.len() as u64 - 1;
            prop_assert_eq!(decompress(codec, &packed, limit), Err(CodecError::TooLarge { max_bytes: limit }));
        }
    }

    #[test]
    fn a_cut_off_input_never_yields_everything(codec in squeezing(), input in vec(97u8..100, 1..5000), cut in 0.0..1.0) {
        let packed = compressed(codec, &input);
        let cut = (packed.len() as f64 * cut) as usize;
        if let Ok(out) = decompress(codec, &packed[..cut], 1 << 20) {
            // The end mark of an lz4 frame may be missing; the record walk behind this counts what came out.
            prop_assert!(out.len() < input.len() || codec == Codec::Lz4, "{} of {}", out.len(), input.len());
        }
    }

    #[test]
    fn garbage_is_an_error_or_bounded(codec in squeezing(), garbage in vec(any::<u8>(), 0..400), magic: bool) {
        let mut input = if magic { compressed(codec, b"")[..4.min(compressed(codec, b"").len())].to_vec() } else { Vec::new() };
        input.extend(garbage);
        if let Ok(out) = decompress(codec, &input, 10_000) {
            prop_assert!(out.len() <= 10_000);
        }
    }

    #[test]
    fn a_decompressor_is_reusable_after_any_failure(cut in 1usize..60, input in vec(97u8..100, 100..5000)) {
        let packed = compressed(Codec::Zstd, &input);
        let mut decompressor = Decompressor::default();
        let mut out = Vec::new();
        let _ = decompressor.decompress(Codec::Zstd, &packed[..packed.len() - cut.min(packed.len())], 1 << 20, &mut out);
        decompressor.decompress(Codec::Zstd, &packed, 1 << 20, &mut out).unwrap();
        prop_assert_eq!(&out, &input);
        decompressor.decompress(Codec::Zstd, &packed, 1 << 20, &mut out).unwrap();
        prop_assert_eq!(&out, &input);
    }
}

#[test]
fn ids_and_names_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec: Codec = name.parse().unwrap();
        assert_eq!((codec.id() as usize, codec.to_string()), (id, name.to_string()));
        assert_eq!(Codec::from_id(id as u8), Some(codec));
    }
    assert_eq!(Codec::from_id(5), None);
    assert!("brotli".parse::<Codec>().is_err());
}

#[test]
fn bombs_stop_at_the_cap() {
    let zeros = vec![0u8; 32 << 20];
    for codec in Codec::ALL {
        let packed = compressed(codec, &zeros);
        let mut out = Vec::new();
        let result = Decompressor::default().decompress(codec, &packed, 1 << 20, &mut out);
        assert_eq!(result, Err(CodecError::TooLarge { max_bytes: 1 << 20 }), "{codec}");
        assert!(out.capacity() <= 4 << 20, "{codec} took {} bytes", out.capacity());
    }
}

#[test]
fn a_buffer_never_gets_more_than_one_byte_beyond_the_cap() {
    let limit = 300_000;
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let packed = compressed(codec, &vec![0u8; 2 << 20]);
        let mut out = Vec::new();
        let result = Decompressor::default().decompress(codec, &packed, limit, &mut out);
        assert_eq!(result, Err(CodecError::TooLarge { max_bytes: limit }), "{codec}");
        assert!(out.capacity() as u64 <= limit + 1, "{codec} took {} bytes", out.capacity());
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    // Raw snappy that announces 4 GiB - 1 in 5 bytes and holds one literal.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'a'];
    assert!(matches!(decompress(Codec::Snappy, &raw, u64::MAX), Err(CodecError::Malformed { .. })));
    // The Java framing with a block length beyond the input.
    let mut framed = compressed(Codec::Snappy, b"");
    framed.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 1, 0, b'a']);
    assert!(matches!(decompress(Codec::Snappy, &framed, u64::MAX), Err(CodecError::Malformed { .. })));
    // A zstd frame that declares 1 TiB of content and holds none.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000];
    zstd.extend_from_slice(&(1u64 << 40).to_le_bytes());
    zstd.extend_from_slice(&[1, 0, 0]);
    assert!(decompress(Codec::Zstd, &zstd, u64::MAX).is_err());
}

#[test]
fn snappy_is_read_raw_and_framed_and_written_framed() {
    let text = b"librdkafka writes raw snappy, Java frames it. ".repeat(2000);
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, 1 << 20).unwrap(), text);
    let framed = compressed(Codec::Snappy, &text);
    assert!(framed.starts_with(b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"));
    assert_eq!(decompress(Codec::Snappy, &framed, 1 << 20).unwrap(), text);
    let twice = [framed.as_slice(), &framed].concat();
    assert_eq!(decompress(Codec::Snappy, &twice, 1 << 20).unwrap().len(), 2 * text.len());
}

#[test]
fn lz4_is_framed_with_independent_64k_blocks() {
    let packed = compressed(Codec::Lz4, &b"lz4 ".repeat(50_000));
    assert_eq!(packed[..4], [0x04, 0x22, 0x4d, 0x18]);
    assert_eq!(packed[4] & 0b1110_0000, 0b0110_0000, "version 1, independent blocks");
    assert_eq!(packed[5], 0x40, "blocks of 64 KiB");
}

#[test]
fn lz4_that_no_java_consumer_could_read_is_refused() {
    let text = b"lz4js says that its blocks depend on each other. ".repeat(10);
    let mut dependent = Vec::new();
    let info = FrameInfo::new().block_mode(BlockMode::Linked);
    let mut encoder = FrameEncoder::with_frame_info(info, &mut dependent);
    std::io::Write::write_all(&mut encoder, &text).unwrap();
    encoder.finish().unwrap();
    assert_eq!(dependent[4] & 0b0010_0000, 0, "linked blocks");
    assert!(matches!(decompress(Codec::Lz4, &dependent, 1 << 20), Err(CodecError::Malformed { .. })));
    assert_eq!(decompress(Codec::Lz4, &compressed(Codec::Lz4, &text), 1 << 20).unwrap(), text);
}

#[test]
fn levels_change_the_size() {
    let line = |n: u32| format!("order {n} of customer {} in shop {} was paid\n", n * 7919 % 1009, n * 104_729 % 83);
    let text: Vec<u8> = (0..5000).flat_map(|n| line(n).into_bytes()).collect();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let size = |level| {
            let mut out = Vec::new();
            compress(Compression { codec, level: Some(level) }, &text, &mut out);
            out.len()
        };
        assert!(size(1) > size(9), "{codec}");
    }
}

#[test]
fn a_topics_config_names_codec_and_level() {
    use coretide_model::topic_config::CompressionType as Type;
    let of = |compression_type| {
        let levels = TopicConfig { compression_gzip_level: 7, compression_zstd_level: 11, ..TopicConfig::default() };
        Compression::from_config(&TopicConfig { compression_type, compression_lz4_level: 9, ..levels })
    };
    let some = |codec, level| Some(Compression { codec, level });
    assert_eq!(of(Type::Producer), None);
    assert_eq!(of(Type::Uncompressed), some(Codec::None, None));
    assert_eq!(of(Type::Gzip), some(Codec::Gzip, Some(7)));
    assert_eq!(of(Type::Snappy), some(Codec::Snappy, None));
    assert_eq!(of(Type::Lz4), some(Codec::Lz4, Some(9)));
    assert_eq!(of(Type::Zstd), some(Codec::Zstd, Some(11)));
}

#[test]
fn a_zstd_frame_that_is_cut_off_is_told_as_such_and_one_that_squeezes_well_is_whole() {
    let input = vec![7u8; 3 << 20];
    let packed = compressed(Codec::Zstd, &input);
    assert!(packed.len() < 2000);
    assert_eq!(decompress(Codec::Zstd, &packed, 4 << 20).unwrap(), input);
    let cut = decompress(Codec::Zstd, &packed[..packed.len() - 1], 4 << 20);
    assert_eq!(cut, Err(CodecError::Malformed { codec: Codec::Zstd, reason: "it is cut off" }));
}

#[test]
fn a_zstd_window_that_is_too_large_is_refused_and_a_decoder_that_grew_is_not_kept() {
    let mut decompressor = Decompressor::default();
    let mut out = Vec::new();
    let small = compressed(Codec::Zstd, b"small");
    decompressor.decompress(Codec::Zstd, &small, 100, &mut out).unwrap();
    assert!(decompressor.zstd.is_some());
    let with_window = |window_log| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        std::io::Write::write_all(&mut encoder, &[3; 1000]).unwrap();
        encoder.finish().unwrap()
    };
    let kept = with_window(ZSTD_WINDOW_LOG_MAX);
    decompressor.decompress(Codec::Zstd, &kept, 1000, &mut out).unwrap();
    assert!(decompressor.zstd.is_none(), "its window takes more than is kept");
    let refused = decompressor.decompress(Codec::Zstd, &with_window(ZSTD_WINDOW_LOG_MAX + 1), 1000, &mut out);
    assert!(matches!(refused, Err(CodecError::Malformed { .. })));
}
