//! coordinator: see src/README.md.
