//! controller: see src/README.md.
