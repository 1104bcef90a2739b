//! shard: see src/README.md.
