//! client: see src/README.md.
