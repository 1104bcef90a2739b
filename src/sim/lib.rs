//! The simulator: whole shards on a virtual disk, network and clock, with virtual clients and judges. One seed, one run.
//! Must never touch: real IO, real time. The judges share no code with what they judge.

pub mod client;
pub mod disk;
pub mod job;
pub mod judge;
pub mod records;
pub mod solo;
pub mod trace;
