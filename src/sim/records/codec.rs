//! The clients' own compression: the codec crates used directly, without the broker's wrapping of them. Must never touch: the
//! broker's codecs.

use std::io::{Read, Write};

/// How a batch's records are compressed, by the number in its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// All of them.
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// What the Java client's snappy streams begin with: magic, version, least version.
const JAVA_SNAPPY_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";

impl Codec {
    /// The codec that a batch's attributes name.
    pub fn of(attributes: i16) -> Option<Codec> {
        CODECS.into_iter().find(|codec| *codec as i16 == attributes & 7)
    }

    /// The records section of a batch. Snappy is raw, as librdkafka writes it.
    pub fn compress(self, records: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => records.to_vec(),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(records).expect("memory takes all");
                encoder.finish().expect("memory takes all")
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(records).expect("small"),
            Codec::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(records).expect("memory takes all");
                encoder.finish().expect("memory takes all")
            }
            Codec::Zstd => zstd::encode_all(records, 1).expect("memory takes all"),
        }
    }

    /// The records section in plain.
    pub fn decompress(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let read = match self {
            Codec::None => {
                out.extend_from_slice(bytes);
                Ok(0)
            }
            Codec::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Codec::Snappy => return snappy(bytes),
            Codec::Lz4 => lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut out),
            Codec::Zstd => zstd::Decoder::new(bytes).and_then(|mut decoder| decoder.read_to_end(&mut out)),
        };
        read.map(|_| out).map_err(|error| format!("{self:?} does not decompress: {error}"))
    }
}

fn snappy(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let block = |bytes: &[u8]| snap::raw::Decoder::new().decompress_vec(bytes).map_err(|error| error.to_string());
    let Some(mut rest) = bytes.strip_prefix(JAVA_SNAPPY_HEADER) else { return block(bytes) };
    let mut out = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (one, after) =
            after.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or("a snappy block ends early")?;
        out.extend(block(one)?);
        rest = after;
    }
    if rest.is_empty() { Ok(out) } else { Err("bytes behind the last snappy block".to_string()) }
}
