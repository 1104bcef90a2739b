//! Whole shards on a disk in memory that does everything at once, driven by real frames.
//! Must never touch: what it tests; its only way in is events, and its only way out outputs.

mod admin;
mod disk;
mod fetch;
mod groups;
mod hostile;
mod life;
mod produce;
mod rig;
mod rules;
mod space;
