//! The log: record batches, journal, segments, indexes, recovery, as data and plans.
//! Must never touch: file handles, sockets, clocks.

pub mod batch;
pub mod builder;
pub mod codec;
pub mod io;
pub mod records;
pub mod store;
pub mod timestamps;

#[cfg(test)]
mod samples;
