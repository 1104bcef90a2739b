//! The log machines of this broker and their place in a shard: commands in, records to their internal partition, replies
//! out when those are durable.
//! Must never touch: wire requests and responses.

pub(crate) mod controller;
pub(crate) mod groups;
mod metadata;
