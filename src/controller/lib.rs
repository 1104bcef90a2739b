//! The state of the cluster: topics, partitions, configurations, blocks of producer ids.
//!
//! ```text
//!   Command ──► Controller::handle ──► Delta (records to append to the metadata log) + a parked reply
//!                    ▲     │
//!     on_applied ────┘     └─► image (records applied at once, for the checks of the next command)
//!
//!   durable Delta ──► every shard's Image::apply ──► Changes ──► on_applied(shard, revision) ──► replies released
//! ```
//!
//! Invariants: only records change an `Image`; a reply leaves after its records are durable and every shard has applied
//! them, so "created" means known everywhere; after a failed write nothing is accepted any more.
//! Must not touch: the wire, files, the log's format, which shard owns what.
//! Modules in reading order: `record`, `image`, `names`, `command`, `machine`, `create`, `topics`, `configs`.

pub mod command;
mod configs;
mod create;
pub mod error;
pub mod image;
pub mod machine;
pub mod names;
pub mod record;
mod topics;

#[cfg(test)]
mod tests;

pub use command::{
    Command, ConfigEntries, ConfigOp, ConfigResource, CreatedTopic, DeletedTopic, IncrementalChange, MorePartitions,
    NewTopic, ProducerIdBlock, Reply, TopicRef,
};
pub use error::{CommandError, ReplayError};
pub use image::{Change, Image, PartitionImage, TopicImage};
pub use machine::{Controller, ControllerConfig, Effects, Token};
pub use record::{Delta, Record, ResourceType};
