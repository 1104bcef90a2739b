//! Errands outside: child processes with a time limit and a log, and what is fetched from package registries, once. Shared
//! by the chores that play real clients and by the bench that starts Apache Kafka.
//! Must never touch: anything of the broker's; it must build without any other crate.

pub mod fetched;
pub mod maven;
pub mod process;
