//! The words every room shares: ids, offsets, time as numbers, Kafka's error codes, limits and config definitions.
//! Must never touch: bytes on the wire, protocol versions, IO, clocks.

pub mod config;
pub mod error;
pub mod id;
pub mod notice;
pub mod time;
pub mod topic_config;

pub use config::BrokerConfig;
pub use error::ErrorCode;
pub use id::{ConnId, ShardId, TopicId, TopicPartition};
pub use notice::{Notice, Severity};
pub use time::Now;
pub use topic_config::TopicConfig;
