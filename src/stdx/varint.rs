//! Variable-length integers: seven bits a byte, lowest first; signed ones zigzag-coded. Readers take bytes off the front
//! of a slice and answer `None` for a number that is cut off or too long.
//! Must never touch: domain words, IO, clocks.

/// The longest 32-bit varint in bytes.
pub const MAX_LEN_32: usize = 5;
/// The longest 64-bit varint in bytes.
pub const MAX_LEN_64: usize = 10;

/// Takes an unsigned 32-bit varint off the front.
#[inline]
pub fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Some(u32::from(first))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *bytes = rest;
            Some(u32::from(first & 0x7f) | u32::from(second) << 7)
        }
        _ => u32::try_from(take_long(bytes, MAX_LEN_32)?).ok(),
    }
}

/// Takes an unsigned 64-bit varint off the front.
#[inline]
pub fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Some(u64::from(first))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *bytes = rest;
            Some(u64::from(first & 0x7f) | u64::from(second) << 7)
        }
        _ => take_long(bytes, MAX_LEN_64),
    }
}

/// Takes a zigzag-coded 32-bit varint off the front.
#[inline]
pub fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = take_u32(bytes)?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a zigzag-coded 64-bit varint off the front.
#[inline]
pub fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_u64(bytes)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline(never)]
fn take_long(bytes: &mut &[u8], max_len: usize) -> Option<u64> {
    let mut value = 0u64;
    for (place, &byte) in bytes.iter().take(max_len).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if place == MAX_LEN_64 - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * place);
        if byte < 0x80 {
            *bytes = &bytes[place + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends an unsigned varint.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends an unsigned varint.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    put_u64(out, u64::from(value));
}

/// Appends a zigzag-coded 32-bit varint.
#[inline]
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_u32(out, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a zigzag-coded 64-bit varint.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// The length in bytes of an unsigned varint.
#[inline]
pub const fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The length in bytes of a zigzag-coded 32-bit varint.
#[inline]
pub const fn len_i32(value: i32) -> usize {
    len_u64(((value << 1) ^ (value >> 31)) as u32 as u64)
}

/// The length in bytes of a zigzag-coded 64-bit varint.
#[inline]
pub const fn len_i64(value: i64) -> usize {
    len_u64(((value << 1) ^ (value >> 63)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(a: i32, b: i64, c: u32, d: u64) {
            let mut out = Vec::new();
            put_i32(&mut out, a);
            prop_assert_eq!(out.len(), len_i32(a));
            put_i64(&mut out, b);
            prop_assert_eq!(out.len(), len_i32(a) + len_i64(b));
            put_u32(&mut out, c);
            put_u64(&mut out, d);
            prop_assert_eq!(out.len(), len_i32(a) + len_i64(b) + len_u64(u64::from(c)) + len_u64(d));
            let mut left = &out[..];
            prop_assert_eq!(take_i32(&mut left), Some(a));
            prop_assert_eq!(take_i64(&mut left), Some(b));
            prop_assert_eq!(take_u32(&mut left), Some(c));
            prop_assert_eq!(take_u64(&mut left), Some(d));
            prop_assert!(left.is_empty());
            for cut in 0..out.len() {
                let mut left = &out[..cut];
                let all = take_i32(&mut left).is_some() && take_i64(&mut left).is_some()
                    && take_u32(&mut left).is_some() && take_u64(&mut left).is_some();
                prop_assert!(!all);
            }
        }
    }

    #[test]
    fn known_values() {
        let mut out = Vec::new();
        put_i32(&mut out, -1);
        put_i32(&mut out, 63);
        put_i32(&mut out, -65);
        assert_eq!(out, [0x01, 0x7e, 0x81, 0x01]);
        assert_eq!((len_i32(i32::MIN), len_i64(i64::MIN), len_u64(0), len_u64(127), len_u64(128)), (5, 10, 1, 1, 2));
    }

    #[test]
    fn too_long_numbers_are_refused() {
        assert_eq!(take_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Some(u32::MAX));
        assert_eq!(take_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(take_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0x00][..]), None);
        let mut longest = [0xff; 10];
        longest[9] = 0x01;
        assert_eq!(take_u64(&mut &longest[..]), Some(u64::MAX));
        longest[9] = 0x02;
        assert_eq!(take_u64(&mut &longest[..]), None);
        assert_eq!(take_u64(&mut &[][..]), None);
    }
}
