//! partition: see src/README.md.
