//! Why bytes are not a message, and why a message cannot become bytes.
//! Must never touch: Kafka's error codes (the edge maps these to them).

use thiserror::Error;

/// Bytes from a peer or from the disk that are not what they claim to be. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A length or a fixed-size value reaches past the end.
    #[error("{wanted} bytes wanted, {left} left")]
    Truncated {
        /// How many bytes (for arrays: at least) the value takes.
        wanted: usize,
        /// How many there are.
        left: usize,
    },
    /// Null where the version does not allow it.
    #[error("null where a value is required")]
    Null,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A varint longer than its type.
    #[error("a varint is too long")]
    Varint,
    /// More tagged fields than [`crate::reader::TAGS_MAX`] in one place.
    #[error("{0} tagged fields in one place")]
    TooManyTags(u32),
    /// The decoded form would take more memory than [`crate::reader::DECODED_BYTES_MAX`] or than its frame justifies.
    #[error("the decoded message would be too large")]
    TooLarge,
    /// The version is not defined for the message.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// No definition here for the API key or record type.
    #[error("unknown key {0}")]
    UnknownKey(i16),
    /// Bytes after the end of a record that must end there.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// A message that a version cannot express. Always our own fault, or that of who chose the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The version is not defined for the message.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that the version does not know is set, and may not be dropped.
    #[error("{field} is set, but version {version} does not know it")]
    Field {
        /// Struct and field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null, and the version does not allow it.
    #[error("{field} is null, which version {version} does not allow")]
    Null {
        /// Struct and field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string or array is longer than its length field can say.
    #[error("a value of length {0} is too long")]
    TooLong(usize),
}
