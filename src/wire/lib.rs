//! wire: see src/README.md.
