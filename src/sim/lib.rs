//! The simulator: whole shards on a virtual disk, network and clock, with virtual clients and judges. One seed, one run.
//! Must never touch: real IO, real time. The judges share no code with what they judge.

mod broker;
pub mod client;
pub mod coverage;
pub mod disk;
pub mod job;
pub mod judge;
mod net;
pub mod plan;
pub mod records;
pub mod solo;
pub mod trace;
mod world;

pub use world::{Failure, Report, run, run_covered};
