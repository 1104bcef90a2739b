//! Cuts a byte stream into frames with Kafka's four-byte length in front. The simulator's network uses it; the reactor
//! has one of its own that receives into place.
//! Must never touch: sockets, what a frame says.

use bytes::{Buf, Bytes, BytesMut};

/// The length in front of each frame.
pub const PREFIX_BYTES: usize = 4;

/// A stream that cannot be cut into frames: the connection is to be closed (W1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is below zero.
    #[error("a frame of {0} bytes was announced")]
    Negative(i32),
    /// The length is above `socket.request.max.bytes`.
    #[error("a frame of {announced} bytes was announced, at most {limit} are accepted")]
    TooLarge {
        /// What the prefix says.
        announced: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// One connection's incoming bytes. Memory grows with what has arrived, never with what was announced.
#[derive(Debug)]
pub struct FrameAssembler {
    pending: BytesMut,
    limit_bytes: usize,
}

impl FrameAssembler {
    /// Nothing received; frames above `limit_bytes` are refused.
    pub fn new(limit_bytes: usize) -> FrameAssembler {
        FrameAssembler { pending: BytesMut::new(), limit_bytes }
    }

    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame without its prefix, if it is there. After an error the stream is of no use any more.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.pending.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        let length = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
        if length > self.limit_bytes {
            return Err(FrameError::TooLarge { announced: length, limit: self.limit_bytes });
        }
        if self.pending.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.pending.advance(PREFIX_BYTES);
        Ok(Some(self.pending.split_to(length).freeze()))
    }

    /// Bytes that wait for the rest of their frame.
    pub fn buffered_bytes(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            cut in 1usize..9,
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                stream.extend_from_slice(&(frame.len() as i32).to_be_bytes());
                stream.extend_from_slice(frame);
            }
            let mut assembler = FrameAssembler::new(50);
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                assembler.push(piece);
                while let Some(frame) = assembler.next_frame().unwrap() {
                    out.push(frame.to_vec());
                }
            }
            prop_assert_eq!(out, frames);
            prop_assert_eq!(assembler.buffered_bytes(), 0);
        }
    }

    #[test]
    fn w1_lengths_below_zero_and_above_the_limit_are_errors_before_the_bytes_arrive() {
        let mut assembler = FrameAssembler::new(100);
        assembler.push(&101i32.to_be_bytes());
        assert_eq!(assembler.next_frame(), Err(FrameError::TooLarge { announced: 101, limit: 100 }));
        let mut assembler = FrameAssembler::new(100);
        assembler.push(&[0xff, 0xff, 0xff]);
        assert_eq!((assembler.next_frame(), assembler.buffered_bytes()), (Ok(None), 3));
        assembler.push(&[0xfe]);
        assert_eq!(assembler.next_frame(), Err(FrameError::Negative(-2)));
        let mut assembler = FrameAssembler::new(2);
        assembler.push(&[0, 0, 0, 2, 7, 8]);
        assert_eq!(assembler.next_frame(), Ok(Some(Bytes::from_static(&[7, 8]))), "as long as is allowed");
    }
}
