//! Kafka's wire protocol: frames' headers, messages, records' own formats.
//!
//! ```text
//!   frame (Bytes) ── header ──► api::receive ──► messages::<api>::XRequest::decode ──► a handler
//!                                   │            produce, fetch: borrowed, by hand
//!   a handler ── XResponse::encode ─┴─► head (Bytes);  fetch: heads around holes for record bytes
//! ```
//!
//! Invariants: no length from a peer is believed before it is held against the bytes that are left; no decoder panics;
//! record bytes are slices of their frame and are never copied.
//! Must never touch: the inside of a record batch, sockets, and what a message means.

pub mod api;
pub mod error;
pub mod fetch;
pub mod header;
mod message;
pub mod messages;
pub mod produce;
pub mod reader;
pub mod records;
pub mod response;
pub mod topic;
pub mod writer;

pub use api::ApiKey;
pub use error::{DecodeError, EncodeError};
pub use message::Message;
pub use reader::Reader;
pub use response::{encode_request, encode_response};
pub use topic::{CurrentLeader, NodeEndpoint, TopicRef};
pub use writer::Writer;
