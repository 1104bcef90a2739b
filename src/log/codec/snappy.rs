//! Snappy in its two forms: raw (librdkafka and others), and the framing of the Java library (magic, then blocks with
//! a 4-byte length each).
//! Must never touch: the other codecs.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, CodecError};

const JAVA_MAGIC: &[u8; 8] = b"\x82SNAPPY\x00";
/// Magic, version and least compatible version.
const JAVA_HEADER_BYTES: usize = 16;
/// The Java library's default block.
const JAVA_BLOCK_BYTES: usize = 32 << 10;
/// No snappy element yields more than 64 bytes from 2 bytes of input.
const BEST_RATIO: u64 = 32;

const MALFORMED: CodecError = CodecError::Malformed { codec: Codec::Snappy, reason: "not valid snappy data" };

/// Appends what `input` decompresses to, in whichever form it is.
pub(super) fn decompress(input: &[u8], limit_bytes: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    if !input.starts_with(JAVA_MAGIC) {
        return block(input, limit_bytes, out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Streams may be written one after the other, each with a header of its own.
        if rest.starts_with(JAVA_MAGIC) {
            rest = rest.get(JAVA_HEADER_BYTES..).ok_or(MALFORMED)?;
            continue;
        }
        let (len, after) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| MALFORMED)?;
        let (compressed, after) = after.split_at_checked(len).ok_or(MALFORMED)?;
        block(compressed, limit_bytes, out)?;
        rest = after;
    }
    Ok(())
}

/// One raw block. Its declared size is believed only as far as its own length could make it true.
fn block(input: &[u8], limit_bytes: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let declared = decompress_len(input).map_err(|_| MALFORMED)?;
    if declared as u64 > (input.len() as u64).saturating_mul(BEST_RATIO) {
        return Err(MALFORMED);
    }
    let from = out.len();
    if (from as u64).saturating_add(declared as u64) > limit_bytes {
        return Err(CodecError::TooLarge { max_bytes: limit_bytes });
    }
    out.resize(from + declared, 0);
    let written = Decoder::new().decompress(input, &mut out[from..]).map_err(|_| MALFORMED)?;
    if written == declared { Ok(()) } else { Err(MALFORMED) }
}

/// Appends the compressed form in the Java library's framing, which every client reads.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(JAVA_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = Encoder::new();
    for chunk in input.chunks(JAVA_BLOCK_BYTES) {
        let length_at = out.len();
        let from = length_at + 4;
        out.resize(from + max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[from..]).expect("the room is what the library asks for");
        out[length_at..from].copy_from_slice(&(written as u32).to_be_bytes());
        out.truncate(from + written);
    }
}
