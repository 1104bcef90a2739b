//! Small tools that know nothing of Kafka: bounded collections, a seeded generator, varints, aligned buffers.
//! Must never touch: domain words, IO, clocks.

pub mod aligned;
pub mod prng;
pub mod varint;
