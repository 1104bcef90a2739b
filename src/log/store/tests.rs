//! Tests of the whole store on a virtual disk: small scenarios by name, and random histories with crashes.

mod accounts;
pub(super) mod ahead;
mod aside;
mod checked;
mod checks;
pub(super) mod disk;
mod folders;
mod formats;
mod full;
mod memory;
mod mends;
mod order;
mod rebuilt;
mod removals;
mod rot;
mod scenarios;
mod steps;
mod storm;
mod times;
pub(super) mod world;
