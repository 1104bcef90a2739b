//! Tests of the room: a lab around one coordinator, scenarios by rule, and random interleavings against a model.

mod lab;
mod offsets;
mod random;
mod rebalance;
mod stored;
