//! metrics: see src/README.md.
