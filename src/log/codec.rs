//! The compression codecs of record batches, in the forms that Kafka's Java client and librdkafka read and write.
//! Decompression streams into a buffer with a hard cap and believes no declared size.
//! Must never touch: what the bytes mean.

mod snappy;

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use bytes::Bytes;
use coretide_model::topic_config::{CompressionType, TopicConfig};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// The most bytes that one batch's records may decompress to, whatever the topic's config says: the memory that one
/// request may cost while its records are looked at.
pub const DECOMPRESSED_MAX_BYTES: u64 = 128 << 20;

/// The largest zstd window (log2) that is accepted: what Kafka's own decoder takes, and what zstd's highest levels use.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// A zstd context that grew beyond this is not kept for the next batch.
const ZSTD_CONTEXT_KEPT_BYTES: usize = 4 << 20;
/// Room that decompression first makes, and the least it grows by.
const GROW_MIN_BYTES: usize = 16 << 10;
/// Up to here it doubles; from here on it gets all that it may have.
const GROW_WHOLE_FROM_BYTES: usize = 4 << 20;

/// How the records of a batch are compressed: bits 0 to 2 of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// All of them, by id.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with an id.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// The id in the attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Codec, String> {
        let found = Codec::ALL.into_iter().find(|codec| codec.name() == text);
        found.ok_or_else(|| format!("'{text}' is no compression codec: none, gzip, snappy, lz4 and zstd are"))
    }
}

/// A codec and how hard it should try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// The level in the codec's own scale; none for its default. Snappy has none, lz4 ignores it.
    pub level: Option<i32>,
}

impl Compression {
    /// A codec at its default level.
    pub const fn of(codec: Codec) -> Compression {
        Compression { codec, level: None }
    }

    /// What a topic's `compression.type` and its levels ask for; none for `producer`.
    pub fn from_config(config: &TopicConfig) -> Option<Compression> {
        let (codec, level) = match config.compression_type {
            CompressionType::Producer => return None,
            CompressionType::Uncompressed => (Codec::None, None),
            CompressionType::Gzip => (Codec::Gzip, Some(config.compression_gzip_level)),
            CompressionType::Snappy => (Codec::Snappy, None),
            CompressionType::Lz4 => (Codec::Lz4, Some(config.compression_lz4_level)),
            CompressionType::Zstd => (Codec::Zstd, Some(config.compression_zstd_level)),
        };
        Some(Compression { codec, level })
    }
}

/// A failed decompression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The output would be larger than the cap.
    #[error("the data decompress to more than {max_bytes} bytes")]
    TooLarge { max_bytes: u64 },
    /// The input is not what the codec writes.
    #[error("the data do not decompress as {codec}: {reason}")]
    Malformed { codec: Codec, reason: &'static str },
}

/// Decompresses `input` into at most `limit_bytes` (and never more than [`DECOMPRESSED_MAX_BYTES`]).
pub fn decompress(codec: Codec, input: &[u8], limit_bytes: u64) -> Result<Bytes, CodecError> {
    let mut out = Vec::new();
    Decompressor::default().decompress(codec, input, limit_bytes, &mut out)?;
    Ok(Bytes::from(out))
}

/// Decompresses, and keeps what is expensive to set up.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<DCtx<'static>>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Replaces `out` by what `input` decompresses to, at most `limit_bytes` (and never more than
    /// [`DECOMPRESSED_MAX_BYTES`]).
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit_bytes: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        out.clear();
        let limit_bytes = limit_bytes.min(DECOMPRESSED_MAX_BYTES);
        match codec {
            Codec::None if input.len() as u64 > limit_bytes => Err(CodecError::TooLarge { max_bytes: limit_bytes }),
            Codec::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => read_capped(codec, flate2::bufread::MultiGzDecoder::new(input), limit_bytes, out),
            Codec::Snappy => snappy::decompress(input, limit_bytes, out),
            Codec::Lz4 if !java_reads_lz4(input) => {
                Err(CodecError::Malformed { codec, reason: "not a frame of version 1 with independent blocks" })
            }
            Codec::Lz4 => read_capped(codec, FrameDecoder::new(input), limit_bytes, out),
            Codec::Zstd => self.zstd(input, limit_bytes, out),
        }
    }

    fn zstd(&mut self, input: &[u8], limit_bytes: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let malformed = |reason| CodecError::Malformed { codec: Codec::Zstd, reason };
        let mut context = match self.zstd.take() {
            Some(context) => context,
            None => new_zstd().ok_or(malformed("no memory for a decoder"))?,
        };
        let mut input = InBuffer::around(input);
        let mut frame_ended = true;
        while input.pos() < input.src.len() || !frame_ended {
            if out.len() == out.capacity() {
                grow(out, limit_bytes);
            }
            let (read_before, written_before) = (input.pos(), out.len());
            let mut output = OutBuffer::around_pos(out, written_before);
            let hint =
                context.decompress_stream(&mut output, &mut input).map_err(|_| malformed("not a valid zstd frame"))?;
            let written = output.pos();
            if written as u64 > limit_bytes {
                return Err(CodecError::TooLarge { max_bytes: limit_bytes });
            }
            frame_ended = hint == 0;
            // There was room.
            if input.pos() == read_before && written == written_before {
                return Err(malformed("it is cut off"));
            }
        }
        if context.sizeof() <= ZSTD_CONTEXT_KEPT_BYTES && context.reset(ResetDirective::SessionOnly).is_ok() {
            self.zstd = Some(context);
        }
        Ok(())
    }
}

fn new_zstd() -> Option<DCtx<'static>> {
    let mut context = DCtx::try_create()?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
    Some(context)
}

/// Makes room in a full buffer, never more than one byte beyond the cap: that byte tells "full" from "too large". What is
/// large gets all it may have at once: memory that is never written to is not resident, and a buffer that grows by copies
/// is there twice meanwhile.
fn grow(out: &mut Vec<u8>, limit_bytes: u64) {
    let cap = (limit_bytes as usize).saturating_add(1);
    let left = cap.saturating_sub(out.len()).max(1);
    let more = if out.len() >= GROW_WHOLE_FROM_BYTES { left } else { out.len().max(GROW_MIN_BYTES).min(left) };
    out.reserve_exact(more);
}

/// Java's reader takes no other frames: what a broker let in, no Java consumer could pass. Kafka refuses them, too.
fn java_reads_lz4(input: &[u8]) -> bool {
    matches!(input, [0x04, 0x22, 0x4d, 0x18, flags, ..] if flags & 0b1110_0000 == 0b0110_0000)
}

fn read_capped(codec: Codec, reader: impl Read, limit_bytes: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut reader = reader.take(limit_bytes.saturating_add(1));
    loop {
        if out.len() == out.capacity() {
            grow(out, limit_bytes);
        }
        let room = out.capacity() - out.len();
        let read = reader.by_ref().take(room as u64).read_to_end(out);
        let read = read.map_err(|_| CodecError::Malformed { codec, reason: "the stream is damaged or cut off" })?;
        if out.len() as u64 > limit_bytes {
            return Err(CodecError::TooLarge { max_bytes: limit_bytes });
        }
        if read < room {
            return Ok(());
        }
    }
}

/// Appends the compressed form of `input` to `out`.
pub fn compress(compression: Compression, input: &[u8], out: &mut Vec<u8>) {
    const INTO_MEMORY: &str = "writing into memory does not fail";
    match compression.codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => {
            let level = match compression.level {
                Some(level @ 0..=9) => flate2::Compression::new(level as u32),
                _ => flate2::Compression::default(),
            };
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(input).expect(INTO_MEMORY);
            encoder.finish().expect(INTO_MEMORY);
        }
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => {
            // Kafka's Java reader takes independent blocks only.
            let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            encoder.write_all(input).expect(INTO_MEMORY);
            encoder.finish().expect(INTO_MEMORY);
        }
        Codec::Zstd => {
            let level = compression.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let mut encoder = zstd::stream::write::Encoder::new(out, level).expect("a level is clamped, not refused");
            encoder.write_all(input).expect(INTO_MEMORY);
            encoder.finish().expect(INTO_MEMORY);
        }
    }
}

#[cfg(test)]
mod tests;
