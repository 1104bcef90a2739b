//! The bench lab: workloads of modelled Kafka clients against any Kafka-compatible broker.
//! Black box: it knows the protocol and nothing of a broker's inside.

pub mod machine;
pub mod result;
pub mod scenario;
