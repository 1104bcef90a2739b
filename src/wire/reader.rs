//! Reading Kafka's primitive types from a frame, without trusting one length in it.
//!
//! Strings and byte ranges are slices of the frame. Every length is held against the bytes that are left before
//! anything is allocated, and the memory that decoded arrays take is bounded by a multiple of the frame.
//! Must never touch: what the values mean, IO.

use crate::error::DecodeError;
use bytes::Bytes;
use coretide_model::TopicId;

/// The most tagged fields in one place; Kafka defines at most four.
pub const TAGS_MAX: u32 = 1024;
/// Bytes of decoded array elements per byte of frame: what the smallest legitimate elements need.
pub const DECODED_BYTES_PER_FRAME_BYTE: usize = 32;
/// Array elements that any frame may decode to, in bytes, however small it is.
pub const DECODED_BYTES_MIN: usize = 64 * 1024;
/// The most bytes of array elements that one frame may decode to.
pub const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A cursor over one frame (or record).
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    end: usize,
    /// How many bytes of array elements may still be decoded.
    budget: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the start.
    pub fn new(frame: &'a Bytes) -> Reader<'a> {
        let justified = frame.len().saturating_mul(DECODED_BYTES_PER_FRAME_BYTE).saturating_add(DECODED_BYTES_MIN);
        Reader { frame, position: 0, end: frame.len(), budget: justified.min(DECODED_BYTES_MAX) }
    }

    /// Where the cursor is, in bytes from the start of the frame.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// An error unless everything was read.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// The next `count` bytes, borrowed.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        if count > left {
            return Err(DecodeError::Truncated { wanted: count, left });
        }
        let start = self.position;
        self.position += count;
        Ok(&self.frame[start..start + count])
    }

    /// The next `count` bytes as a slice that keeps the frame alive.
    pub fn take_bytes(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let taken = self.take(count)?;
        Ok(self.frame.slice_ref(taken))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take gave exactly N bytes"))
    }

    /// BOOLEAN: any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// INT8
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    /// INT16
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// UINT16
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    /// INT32
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// UINT32
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    /// INT64
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// FLOAT64
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    /// UUID
    pub fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        Ok(TopicId::from_bytes(self.fixed()?))
    }

    /// UNSIGNED_VARINT: at most five bytes and 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length or count, `None` for null. Old versions write −1 for null, compact ones length + 1 and 0 for null.
    fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return Ok((self.unsigned_varint()? as usize).checked_sub(1));
        }
        Ok(usize::try_from(self.i32()?).ok())
    }

    fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.length(true) } else { Ok(usize::try_from(self.i16()?).ok()) }
    }

    /// STRING, NULLABLE_STRING or their compact forms, borrowed from the frame.
    pub fn nullable_str(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.string_length(flexible)? else { return Ok(None) };
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotUtf8)
    }

    /// A string that may not be null, borrowed from the frame.
    pub fn str(&mut self, flexible: bool) -> Result<&'a str, DecodeError> {
        self.nullable_str(flexible)?.ok_or(DecodeError::Null)
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        Ok(self.nullable_str(flexible)?.map(str::to_owned))
    }

    /// A string that may not be null.
    pub fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        Ok(self.str(flexible)?.to_owned())
    }

    /// BYTES, RECORDS or their compact forms, as a slice of the frame.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        self.length(flexible)?.map(|length| self.take_bytes(length)).transpose()
    }

    /// Steps over BYTES, RECORDS or their compact forms.
    pub fn skip_nullable_bytes(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let length = self.length(flexible)?.unwrap_or(0);
        self.take(length).map(|_| ())
    }

    /// Bytes that may not be null.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null)
    }

    /// An array's element count, checked against the bytes left at `min_bytes` (> 0) per element; `None` for null.
    pub fn count(&mut self, flexible: bool, min_bytes: usize) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(flexible)? else { return Ok(None) };
        let left = self.remaining();
        if count > left / min_bytes {
            return Err(DecodeError::Truncated { wanted: count.saturating_mul(min_bytes), left });
        }
        Ok(Some(count))
    }

    /// An array that may be null; no element takes less than `min_bytes`.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        min_bytes: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.count(flexible, min_bytes)? else { return Ok(None) };
        let element_bytes = size_of::<T>().max(1);
        let wanted = count.saturating_mul(element_bytes);
        self.budget = self.budget.checked_sub(wanted).ok_or(DecodeError::TooLarge)?;
        // A count that lies costs no more memory than the frame itself.
        let mut elements = Vec::with_capacity(count.min(self.remaining() / element_bytes));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array that may not be null; no element takes less than `min_bytes`.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        min_bytes: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, min_bytes, element)?.ok_or(DecodeError::Null)
    }

    /// A struct behind a marker byte: negative for null (KIP-893).
    pub fn nullable_struct<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// A tag section (KIP-482): `known` reads the field of a tag and says true, or says false for a tag it does not
    /// know, which is skipped. A field never reads past its own size; what it leaves is skipped.
    pub fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        if count > TAGS_MAX {
            return Err(DecodeError::TooManyTags(count));
        }
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let left = self.remaining();
            if size > left {
                return Err(DecodeError::Truncated { wanted: size, left });
            }
            let (outer_end, field_end) = (self.end, self.position + size);
            self.end = field_end;
            known(tag, self)?;
            self.end = outer_end;
            self.position = field_end;
        }
        Ok(())
    }

    /// A tag section of which no tag is known.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_end_after_five_bytes_and_32_bits() {
        let read = |bytes: &'static [u8]| Reader::new(&Bytes::from_static(bytes)).unsigned_varint();
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(read(&[0x80, 0x00]), Ok(0));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(DecodeError::Varint));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00]), Err(DecodeError::Varint));
        assert_eq!(read(&[0x80]), Err(DecodeError::Truncated { wanted: 1, left: 0 }));
        assert_eq!(read(&[]), Err(DecodeError::Truncated { wanted: 1, left: 0 }));
    }

    #[test]
    fn a_count_that_lies_is_refused_before_anything_is_allocated() {
        let frame = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let refused = Reader::new(&frame).array(false, 4, |r| r.i32());
        assert_eq!(refused, Err(DecodeError::Truncated { wanted: 4 * 0x7fff_ffff, left: 4 }));
        let frame = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(matches!(Reader::new(&frame).bytes(true), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn tiny_elements_cannot_decode_to_more_memory_than_the_budget() {
        let count: u32 = 1 << 20;
        let mut frame = count.to_be_bytes().to_vec();
        frame.resize(4 + count as usize, 0);
        let frame = Bytes::from(frame);
        assert_eq!(
            Reader::new(&frame).array(false, 1, |r| Ok([r.i8()?; 128])).map(|v| v.len()),
            Err(DecodeError::TooLarge)
        );
        assert_eq!(Reader::new(&frame).array(false, 1, |r| r.i8()).map(|v| v.len()), Ok(count as usize));
    }

    #[test]
    fn unknown_tags_are_skipped_and_a_known_one_stays_within_its_size() {
        let frame = Bytes::from_static(&[3, 9, 2, 0xaa, 0xbb, 0, 1, 7, 1, 1, 5, 0x55]);
        let mut r = Reader::new(&frame);
        let mut seen = None;
        r.tags(|tag, r| match tag {
            0 => {
                seen = Some(r.i8()?);
                assert!(r.i8().is_err(), "the field may not read its neighbour");
                Ok(true)
            }
            _ => Ok(false),
        })
        .unwrap();
        assert_eq!((seen, r.remaining()), (Some(7), 1));
    }

    #[test]
    fn twenty_million_tags_are_refused_at_once() {
        let frame = Bytes::from_static(&[0x80, 0xda, 0xc4, 0x09, 0, 0, 0, 0]);
        assert_eq!(Reader::new(&frame).skip_tags(), Err(DecodeError::TooManyTags(20_000_000)));
    }

    #[test]
    fn null_is_any_negative_length_and_only_where_allowed() {
        let frame = Bytes::from_static(&[0xff, 0xfe]);
        assert_eq!(Reader::new(&frame).nullable_string(false), Ok(None));
        assert_eq!(Reader::new(&frame).string(false), Err(DecodeError::Null));
        let frame = Bytes::from_static(&[0x00, 0x02, 0xc3, 0x28]);
        assert_eq!(Reader::new(&frame).string(false), Err(DecodeError::NotUtf8));
    }
}
