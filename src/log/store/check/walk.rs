//! A segment's batches, one after the other, from chunks of its file: checksum, structure, records, and offsets without a
//! gap. Behind a damaged place it searches for the next whole batch, so that all that is lost is named and nothing more.
//! Must never touch: files.

use bytes::{Buf, BytesMut};

use crate::batch::{BatchHeader, HEADER_BYTES, check_crc, peek_header};
use crate::codec::{Codec, Decompressor};
use crate::records::RecordIter;

/// What the records of one batch may take when unpacked.
const UNPACKED_MAX_BYTES: u64 = 1 << 30;

/// A range of a segment that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it begins.
    pub at: u32,
    /// Where the next whole batch begins, or the segment ends.
    pub to: u32,
    /// The first offset in it.
    pub from_offset: i64,
    /// The first offset behind it.
    pub to_offset: i64,
    /// What is wrong at `at`.
    pub what: String,
}

/// Compressed batches with a good checksum that hold no records, or others than their headers say. A topic whose
/// `coretide.compressed.check` is `header` takes what producers send in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub count: u64,
    /// Where the first one begins.
    pub at: u32,
    /// Its first offset.
    pub from_offset: i64,
    /// What is wrong with it.
    pub what: String,
}

/// The walk. See the module.
#[derive(Debug)]
pub struct Walk {
    end: u32,
    end_offset: i64,
    buffer: BytesMut,
    /// Where the buffer begins in the segment, and the offset that is expected there.
    at: u32,
    expected: i64,
    /// Looking for the end of this.
    losing: Option<Lost>,
    decompressor: Decompressor,
    scratch: Vec<u8>,
    pub lost: Vec<Lost>,
    pub unreadable: Option<Unreadable>,
    pub batches: u64,
    pub records: u64,
}

enum Seen {
    Batch(BatchHeader),
    More,
    Bad(String),
}

impl Walk {
    /// Of the segment that begins with `base_offset`, and whose batches end at the position `end`, before `end_offset`.
    pub fn new(base_offset: i64, end: u32, end_offset: i64) -> Walk {
        Walk {
            end,
            end_offset,
            buffer: BytesMut::new(),
            at: 0,
            expected: base_offset,
            losing: None,
            decompressor: Decompressor::default(),
            scratch: Vec::new(),
            lost: Vec::new(),
            unreadable: None,
            batches: 0,
            records: 0,
        }
    }

    /// The bytes that follow; `each` is told of every good batch and where it begins.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(u32, &BatchHeader)) {
        let room = (self.end - self.at) as usize - self.buffer.len();
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        while self.at < self.end {
            if self.losing.is_some() && !self.search() {
                return;
            }
            match self.look() {
                Seen::More => return,
                Seen::Batch(header) => {
                    each(self.at, &header);
                    self.batches += 1;
                    self.records += u64::from(header.record_count.max(0) as u32);
                    self.expected = header.next_offset();
                    self.skip(header.total_bytes());
                }
                Seen::Bad(what) => {
                    let offset = self.expected;
                    self.losing =
                        Some(Lost { at: self.at, to: self.end, from_offset: offset, to_offset: offset, what });
                    self.skip(1);
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.at += bytes as u32;
    }

    /// All of the buffer is there that ever will be.
    fn is_last(&self) -> bool {
        self.at as usize + self.buffer.len() >= self.end as usize
    }

    fn look(&mut self) -> Seen {
        if self.buffer.len() < HEADER_BYTES && !self.is_last() {
            return Seen::More;
        }
        let header = match peek_header(&self.buffer) {
            Ok(header) => header,
            Err(error) => return Seen::Bad(error.to_string()),
        };
        if header.total_bytes() > (self.end - self.at) as usize {
            return Seen::Bad(format!("a batch of {} bytes goes beyond the end", header.total_bytes()));
        }
        if header.total_bytes() > self.buffer.len() {
            return Seen::More;
        }
        if let Err(error) = check_crc(&self.buffer) {
            return Seen::Bad(error.to_string());
        }
        if header.base_offset != self.expected {
            return Seen::Bad(format!("its offset is {}, but {} comes next", header.base_offset, self.expected));
        }
        if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
            let BatchHeader { record_count, last_offset_delta, .. } = header;
            return Seen::Bad(format!("{record_count} records and a last offset of {last_offset_delta}"));
        }
        let codec = match header.codec() {
            Ok(codec) => codec,
            Err(error) => return Seen::Bad(error.to_string()),
        };
        match self.check_records(&header, codec) {
            Err(what) if codec == Codec::None => return Seen::Bad(what),
            Err(what) => {
                let first = || Unreadable { count: 0, at: self.at, from_offset: header.base_offset, what };
                self.unreadable.get_or_insert_with(first).count += 1;
            }
            Ok(()) => {}
        }
        Seen::Batch(header)
    }

    /// The records are as many as the header says, and at their offsets.
    fn check_records(&mut self, header: &BatchHeader, codec: Codec) -> Result<(), String> {
        let bytes = &self.buffer[HEADER_BYTES..header.total_bytes()];
        let plain = if codec == Codec::None {
            bytes
        } else {
            let unpacked = self.decompressor.decompress(codec, bytes, UNPACKED_MAX_BYTES, &mut self.scratch);
            unpacked.map_err(|error| error.to_string())?;
            self.scratch.as_slice()
        };
        for (index, record) in RecordIter::new(plain, header.record_count).enumerate() {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset_delta != index as i32 {
                return Err(format!("record {index} says that it is record {}", record.offset_delta));
            }
        }
        Ok(())
    }

    /// Goes to the next place where a whole batch with a later offset begins. False if the buffer ends before one.
    fn search(&mut self) -> bool {
        loop {
            if self.buffer.len() < HEADER_BYTES {
                if self.is_last() {
                    self.skip(self.buffer.len());
                }
                return false;
            }
            if let Ok(header) = peek_header(&self.buffer)
                && (self.expected..self.end_offset).contains(&header.base_offset)
                && header.last_offset_delta >= 0
                && header.next_offset() <= self.end_offset
                && header.total_bytes() <= (self.end - self.at) as usize
            {
                if header.total_bytes() > self.buffer.len() {
                    return false;
                }
                if check_crc(&self.buffer).is_ok()
                    && let Some(lost) = self.losing.take()
                {
                    self.lost.push(Lost { to: self.at, to_offset: header.base_offset, ..lost });
                    self.expected = header.base_offset;
                    return true;
                }
            }
            self.skip(1);
        }
    }

    /// Nothing follows. `reached` is true if all bytes up to the end came.
    pub fn finish(&mut self) {
        let end_offset = self.end_offset;
        if let Some(lost) = self.losing.take() {
            self.lost.push(Lost { to_offset: end_offset, ..lost });
        } else if self.at < self.end {
            let what = "the file ends here".to_string();
            let (at, from_offset) = (self.at, self.expected);
            self.lost.push(Lost { at, to: self.end, from_offset, to_offset: end_offset, what });
        } else if self.expected != end_offset {
            let what = format!("the batches end before offset {}, not {end_offset}", self.expected);
            let at = self.end;
            self.lost.push(Lost { at, to: at, from_offset: self.expected, to_offset: end_offset, what });
        }
    }
}

#[cfg(test)]
mod tests;
