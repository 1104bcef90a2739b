//! What every generated message has in common.

use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;
use bytes::Bytes;
use std::fmt::Debug;

/// A message or record format with versions.
pub trait Message: Sized + Clone + Debug + Default + PartialEq {
    /// Kafka's name.
    const NAME: &'static str;
    /// The API key or record type.
    const API_KEY: Option<i16>;
    /// The first defined version.
    const MIN_VERSION: i16;
    /// The last defined version.
    const MAX_VERSION: i16;
    /// The first flexible version (KIP-482); `i16::MAX` when there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads it as of `version`.
    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;

    /// Writes it as of `version`.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Its bytes as of `version`.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut w = Writer::new();
        self.encode(&mut w, version)?;
        Ok(w.into_bytes())
    }
}

/// Implements [`Message`] with a generated struct's own methods.
macro_rules! message {
    ($name:ident, $key:expr, $min:expr, $max:expr, $flexible:expr) => {
        impl crate::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const API_KEY: Option<i16> = $key;
            const MIN_VERSION: i16 = $min;
            const MAX_VERSION: i16 = $max;
            const FLEXIBLE_FROM: i16 = $flexible;

            fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
                $name::decode(r, version)
            }

            fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                $name::encode(self, w, version)
            }
        }
    };
}
pub(crate) use message;
