//! The codec against itself, against the hand-written parts, against kafka-protocol, and against bad bytes.

mod all_messages;
mod arbitrary;
mod bad_bytes;
mod differential;
mod entries;
mod fetch;
mod generated;
mod produce;
mod round_trip;
