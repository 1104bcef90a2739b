//! node: see src/README.md.
