//! The bench lab (`coretide bench`): modelled Kafka clients against any Kafka-compatible broker. The raw frames and the
//! limits of `coretide-perf` stand beside it, in `main.rs`.
//! Black box: it knows the protocol and nothing of a broker's inside.

pub mod lab;
