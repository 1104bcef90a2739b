//! The log: record batches, journal, segments, indexes, recovery, as data and plans.
//! Must never touch: file handles, sockets, clocks.

pub mod io;
