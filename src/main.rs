//! The one binary: everything is in `coretide-cli`.
fn main() {}
