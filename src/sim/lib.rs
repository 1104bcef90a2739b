//! sim: see src/README.md.
