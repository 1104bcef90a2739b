//! Tests of the whole store on a virtual disk: small scenarios by name, and random histories with crashes.

mod ahead;
mod disk;
mod folders;
mod formats;
mod full;
mod order;
mod rot;
mod scenarios;
mod storm;
mod world;
