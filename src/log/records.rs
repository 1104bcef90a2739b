//! The records inside a batch: a walk over decompressed bytes that borrows and never allocates, and the encoder of one
//! record.
//! Must never touch: compression (see `codec`), the batch's header (see `batch`).

use coretide_stdx::varint;

use crate::batch::BatchError;

/// One record, borrowed from the decompressed bytes of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unused by Kafka so far; kept.
    pub attributes: i8,
    /// Milliseconds after the batch's base timestamp; may be negative.
    pub timestamp_delta: i64,
    /// The place after the batch's base offset.
    pub offset_delta: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order, duplicates included.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key; Kafka says UTF-8, nothing here relies on it.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record: checked when the record was read, decoded while iterating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        take_header(&mut self.bytes).ok()
    }
}

/// The records of a batch, from the decompressed bytes after its header. Yields exactly the announced number or one
/// error, which ends it; bytes left over after the last record are an error too.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    bytes: &'a [u8],
    index: i32,
    count: i32,
    ended: bool,
}

impl<'a> RecordIter<'a> {
    /// Over `count` records in `bytes`.
    pub fn new(bytes: &'a [u8], count: i32) -> RecordIter<'a> {
        RecordIter { bytes, index: 0, count, ended: false }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Result<Record<'a>, BatchError>> {
        if self.ended {
            return None;
        }
        if self.index >= self.count {
            self.ended = true;
            if self.bytes.is_empty() {
                return None;
            }
            return Some(Err(BatchError::TrailingBytes { bytes: self.bytes.len() as u64 }));
        }
        match take_record(&mut self.bytes) {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.ended = true;
                Some(Err(BatchError::MalformedRecord { index: self.index, reason }))
            }
        }
    }
}

const BAD_NUMBER: &str = "a number is cut off or too long";
const BAD_LENGTH: &str = "a length is negative or larger than the bytes left";

#[inline(always)]
fn take_bytes<'a>(bytes: &mut &'a [u8], len: i32) -> Result<&'a [u8], &'static str> {
    let len = usize::try_from(len).map_err(|_| BAD_LENGTH)?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(BAD_LENGTH)?;
    *bytes = rest;
    Ok(taken)
}

#[inline(always)]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match varint::take_i32(bytes).ok_or(BAD_NUMBER)? {
        -1 => Ok(None),
        len => take_bytes(bytes, len).map(Some),
    }
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<Header<'a>, &'static str> {
    let key_len = varint::take_i32(bytes).ok_or(BAD_NUMBER)?;
    let key = take_bytes(bytes, key_len)?;
    let value = take_nullable(bytes)?;
    Ok(Header { key, value })
}

#[inline(always)]
fn take_record<'a>(bytes: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let len = varint::take_i32(bytes).ok_or(BAD_NUMBER)?;
    let mut body = take_bytes(bytes, len)?;
    let body = &mut body;
    let (&attributes, rest) = body.split_first().ok_or(BAD_LENGTH)?;
    *body = rest;
    let timestamp_delta = varint::take_i64(body).ok_or(BAD_NUMBER)?;
    let offset_delta = varint::take_i32(body).ok_or(BAD_NUMBER)?;
    let key = take_nullable(body)?;
    let value = take_nullable(body)?;
    let headers = take_headers(body)?;
    if !body.is_empty() {
        return Err("it is longer than its fields");
    }
    Ok(Record { attributes: attributes as i8, timestamp_delta, offset_delta, key, value, headers })
}

#[inline(always)]
fn take_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, &'static str> {
    let count = varint::take_i32(body).ok_or(BAD_NUMBER)?;
    let count = u32::try_from(count).map_err(|_| "the number of headers is negative")?;
    if count == 0 {
        return Ok(Headers::default());
    }
    let all = *body;
    for _ in 0..count {
        take_header(body)?;
    }
    Ok(Headers { count, bytes: &all[..all.len() - body.len()] })
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put_i32(out, -1),
        Some(bytes) => {
            varint::put_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varint::len_i32(bytes.len() as i32) + bytes.len(),
    }
}

/// Appends one record in its encoded form. Every length must fit an `i32`: the callers bound the batch.
pub(crate) fn put_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let body = 1
        + varint::len_i64(record.timestamp_delta)
        + varint::len_i32(record.offset_delta)
        + nullable_len(record.key)
        + nullable_len(record.value)
        + varint::len_i32(record.headers.count as i32)
        + record.headers.bytes.len();
    varint::put_i32(out, body as i32);
    out.push(record.attributes as u8);
    varint::put_i64(out, record.timestamp_delta);
    varint::put_i32(out, record.offset_delta);
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put_i32(out, record.headers.count as i32);
    out.extend_from_slice(record.headers.bytes);
}

/// Encodes headers into `buffer` and gives them the form that [`put_record`] takes.
pub(crate) fn encode_headers<'b>(buffer: &'b mut Vec<u8>, headers: &[Header<'_>]) -> Headers<'b> {
    buffer.clear();
    for header in headers {
        varint::put_i32(buffer, header.key.len() as i32);
        buffer.extend_from_slice(header.key);
        put_nullable(buffer, header.value);
    }
    Headers { count: headers.len() as u32, bytes: buffer }
}
