//! A small blocking Kafka client: what the command line, the integration tests and the tools need.
//!
//! ```text
//!   Producer   Consumer   GroupConsumer   admin calls
//!        └────────┴─────┬──────┴──────────────┘
//!                     Client      brokers, topics, coordinators; one connection per broker and purpose
//!                   Connection    one socket: negotiated versions, requests and responses in order
//! ```
//!
//! Invariants: no call outlives its timeout; no length from a broker is believed before it is held against a limit; a
//! request is repeated only where repeating it is harmless.
//! Must never touch: the broker's own rooms (it knows the protocol only).

pub mod admin;
pub mod client;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod group;
pub mod partitioner;
pub mod producer;
pub mod request;

pub use bytes::Bytes;
pub use client::{Client, ClientConfig, PartitionInfo, Place, TopicInfo};
pub use connection::Connection;
pub use consumer::{Consumer, ConsumerConfig, Incoming, Isolation, OffsetSpec, Reset};
pub use coretide_log::codec::{Codec, Compression};
pub use error::ClientError;
pub use group::{GroupConfig, GroupConsumer};
pub use producer::{Delivery, Outgoing, Producer, ProducerConfig};
