//! reactor: see src/README.md.
