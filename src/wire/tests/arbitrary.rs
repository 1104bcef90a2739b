//! Random values: small, but with the edges (empty, null, extreme numbers, multi-byte text) in them.

use bytes::Bytes;
use coretide_model::TopicId;
use coretide_stdx::prng::Prng;

/// A random value that `version` can express.
pub trait Arbitrary {
    /// Makes one.
    fn arbitrary(rng: &mut Prng, version: i16) -> Self;
}

/// A random value of the type that is wanted.
pub fn any<T: Arbitrary>(rng: &mut Prng, version: i16) -> T {
    T::arbitrary(rng, version)
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(rng: &mut Prng, _version: i16) -> Self {
                match rng.below(6) {
                    0 => <$ty>::MAX,
                    1 => <$ty>::MIN,
                    2 => rng.below(100) as $ty,
                    3 => 0,
                    _ => rng.next_u64() as $ty,
                }
            }
        }
    )*};
}
numbers!(i8, i16, i32, i64, u32);

impl Arbitrary for bool {
    fn arbitrary(rng: &mut Prng, _version: i16) -> Self {
        rng.chance(1, 2)
    }
}

impl Arbitrary for String {
    fn arbitrary(rng: &mut Prng, _version: i16) -> Self {
        let length = if rng.chance(1, 20) { 200 } else { rng.below(9) };
        (0..length).map(|_| ['a', 'Z', '.', '\0', 'ß', '→', '𝄞'][rng.below(7) as usize]).collect()
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(rng: &mut Prng, _version: i16) -> Self {
        let length = if rng.chance(1, 20) { 300 } else { rng.below(20) };
        (0..length).map(|_| rng.next_u64() as u8).collect()
    }
}

impl Arbitrary for TopicId {
    fn arbitrary(rng: &mut Prng, _version: i16) -> Self {
        TopicId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(rng: &mut Prng, version: i16) -> Self {
        (!rng.chance(1, 4)).then(|| any(rng, version))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(rng: &mut Prng, version: i16) -> Self {
        let length = if rng.chance(1, 50) { 130 } else { rng.below(4) };
        // Nested long arrays would grow beyond use: only flat ones get long.
        let length = if size_of::<T>() > 16 { length.min(4) } else { length };
        (0..length).map(|_| any(rng, version)).collect()
    }
}
