//! Writing Kafka's primitive types. For everything that is not records: those never pass through here on the hot path.
//! Must never touch: IO.

use crate::error::EncodeError;
use bytes::{BufMut, Bytes, BytesMut};
use coretide_model::TopicId;

/// A growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty one with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buffer: BytesMut::with_capacity(bytes) }
    }

    /// What was written.
    pub fn into_bytes(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Takes out what was written so far; the room behind it stays for more.
    pub fn split(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Overwrites four bytes that were written before: a length that is known only afterwards.
    ///
    /// # Panics
    /// When there are no four bytes at `at`.
    pub fn patch_i32(&mut self, at: usize, value: i32) {
        self.buffer[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// BOOLEAN
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// INT8
    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// INT16
    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// UINT16
    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    /// INT32
    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// UINT32
    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    /// INT64
    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// FLOAT64
    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    /// UUID
    pub fn uuid(&mut self, value: TopicId) {
        self.buffer.put_slice(&value.to_bytes());
    }

    /// UNSIGNED_VARINT
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// STRING or COMPACT_STRING
    pub fn string(&mut self, flexible: bool, value: &str) -> Result<(), EncodeError> {
        self.nullable_string(flexible, Some(value))
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING; Kafka's strings end at 32,767 bytes in both forms.
    pub fn nullable_string(&mut self, flexible: bool, value: Option<&str>) -> Result<(), EncodeError> {
        let length = value.map(|text| i16::try_from(text.len()).map_err(|_| EncodeError::TooLong(text.len())));
        match (flexible, length.transpose()?) {
            (true, length) => self.unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
            (false, length) => self.i16(length.unwrap_or(-1)),
        }
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// BYTES or COMPACT_BYTES
    pub fn bytes(&mut self, flexible: bool, value: &[u8]) -> Result<(), EncodeError> {
        self.nullable_bytes(flexible, Some(value))
    }

    /// NULLABLE_BYTES, RECORDS or their compact forms
    pub fn nullable_bytes(&mut self, flexible: bool, value: Option<&[u8]>) -> Result<(), EncodeError> {
        match value {
            None => self.null_array(flexible),
            Some(value) => {
                self.array_len(flexible, value.len())?;
                self.raw(value);
            }
        }
        Ok(())
    }

    /// An array's count (also the length of bytes and records).
    pub fn array_len(&mut self, flexible: bool, length: usize) -> Result<(), EncodeError> {
        let length = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        if flexible {
            self.unsigned_varint(length as u32 + 1);
        } else {
            self.i32(length);
        }
        Ok(())
    }

    /// The count of an array that is null.
    pub fn null_array(&mut self, flexible: bool) {
        if flexible {
            self.unsigned_varint(0);
        } else {
            self.i32(-1);
        }
    }

    /// One tagged field: tag, size, and what `write` writes.
    pub fn tagged(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut field = Writer::new();
        write(&mut field)?;
        self.unsigned_varint(tag);
        self.unsigned_varint(u32::try_from(field.len()).map_err(|_| EncodeError::TooLong(field.len()))?);
        self.raw(field.as_slice());
        Ok(())
    }
}
