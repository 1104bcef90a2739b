//! Streams cut at every kind of border.

use super::*;

/// Feeds `stream` in pieces of at most `piece` bytes, as a socket would.
fn receive(
    reader: &mut FrameReader,
    memory: &FrameMemory,
    stream: &[u8],
    piece: usize,
) -> Result<Vec<Bytes>, FrameError> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        assert!(reader.feed(memory), "these tests have memory");
        let spare = reader.spare();
        let n = rest.len().min(piece).min(spare.len());
        spare[..n].write_copy_of_slice(&rest[..n]);
        // SAFETY: just written.
        unsafe { reader.advance(n, memory, |frame| frames.push(frame)) }?;
        rest = &rest[n..];
    }
    Ok(frames)
}

fn stream_of(sizes: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut stream = Vec::new();
    let mut frames = Vec::new();
    for (n, &size) in sizes.iter().enumerate() {
        let body: Vec<u8> = (0..size).map(|i| (i * 7 + n) as u8).collect();
        stream.extend_from_slice(&(size as i32).to_be_bytes());
        stream.extend_from_slice(&body);
        frames.push(body);
    }
    (stream, frames)
}

#[test]
fn frames_come_out_whole_and_in_order_however_they_arrive() {
    let sizes = [0, 1, 10, 5000, 70_000, 3, 65_532, 65_533, 65_536, 300_000, 2_000_000, 20, 0, 4096, 16_384, 16_384, 1];
    let (stream, expected) = stream_of(&sizes);
    for piece in [1, 3, 4, 5, 1000, 4096, 65_536, 1 << 20] {
        let memory = FrameMemory::new(1 << 30);
        let mut reader = FrameReader::new(1 << 24);
        let frames = receive(&mut reader, &memory, &stream, piece).expect("a clean stream");
        assert_eq!(frames.len(), expected.len());
        assert!(frames.iter().zip(&expected).all(|(a, b)| a[..] == b[..]), "pieces of {piece}");
        assert!(memory.in_use() > 2_000_000);
        drop(frames);
        assert_eq!(memory.in_use(), 0);
    }
}

#[test]
fn a_stream_of_large_frames_moves_little() {
    let (stream, _) = stream_of(&[262_144; 64]);
    let memory = FrameMemory::new(1 << 30);
    let mut reader = FrameReader::new(1 << 24);
    let frames = receive(&mut reader, &memory, &stream, 1 << 20).expect("a clean stream");
    assert_eq!(frames.len(), 64);
    assert!(reader.moved_bytes < 64 * BLOCK_MIN_BYTES as u64 + BLOCK_MAX_BYTES as u64, "{}", reader.moved_bytes);
}

#[test]
fn frames_of_a_block_are_not_copied_and_the_block_is_reused_when_they_are_gone() {
    let memory = FrameMemory::new(1 << 30);
    let mut reader = FrameReader::new(1 << 24);
    let (stream, _) = stream_of(&[100, 100, 100]);
    let first = receive(&mut reader, &memory, &stream, 4096).expect("a clean stream");
    let (a, b) = (first[0].as_ptr() as usize, first[1].as_ptr() as usize);
    assert_eq!(b - a, 104);
    drop(first);
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..200 {
        for frame in receive(&mut reader, &memory, &stream, 4096).expect("a clean stream") {
            addresses.insert(frame.as_ptr() as usize);
        }
    }
    let (low, high) = (addresses.first().expect("some"), addresses.last().expect("some"));
    assert!(high - low < 2 * BLOCK_MIN_BYTES, "one block serves all, spread {}", high - low);
}

#[test]
fn lengths_below_zero_or_above_the_limit_end_the_stream_before_anything_is_allocated() {
    let memory = FrameMemory::new(1 << 30);
    let refuse = |length: i32| {
        let mut reader = FrameReader::new(1000);
        receive(&mut reader, &memory, &length.to_be_bytes(), 4).expect_err("must be refused")
    };
    assert_eq!(refuse(-1), FrameError::Negative(-1));
    assert_eq!(refuse(i32::MIN), FrameError::Negative(i32::MIN));
    assert_eq!(refuse(1001), FrameError::TooLarge { announced: 1001, limit: 1000 });
    assert_eq!(memory.in_use(), 0);
}

#[test]
fn a_large_frame_waits_for_memory_and_one_is_always_allowed() {
    let memory = FrameMemory::new(400_000);
    let (stream, expected) = stream_of(&[1_000_000]);
    let mut rich = FrameReader::new(1 << 24);
    let frame = receive(&mut rich, &memory, &stream, 1 << 20).expect("alone it is allowed");
    let mut poor = FrameReader::new(1 << 24);
    poor.spare()[..10].write_copy_of_slice(&stream[..10]);
    // SAFETY: just written.
    unsafe { poor.advance(10, &memory, |_| panic!("not whole")) }.expect("a clean stream");
    assert!(poor.is_starved());
    assert!(!poor.feed(&memory));
    drop(frame);
    assert!(poor.feed(&memory) && !poor.is_starved());
    let frames = receive(&mut poor, &memory, &stream[10..], 1 << 20).expect("a clean stream");
    assert_eq!(frames[0][..], expected[0][..]);
}

#[test]
fn blocks_shrink_when_a_busy_connection_goes_quiet() {
    let memory = FrameMemory::new(1 << 30);
    let mut reader = FrameReader::new(1 << 24);
    let (busy, _) = stream_of(&[1000; 500]);
    receive(&mut reader, &memory, &busy, 1 << 20).expect("a clean stream");
    assert!(reader.block_bytes == BLOCK_MAX_BYTES);
    let (quiet, _) = stream_of(&[20]);
    for _ in 0..3 * SMALL_RECEIVES as usize {
        receive(&mut reader, &memory, &quiet, 1 << 20).expect("a clean stream");
    }
    assert_eq!(reader.block_bytes, BLOCK_MIN_BYTES);
    assert!(reader.spare().len() <= BLOCK_MIN_BYTES);
}
