//! The load generator and the machine limits.
fn main() {}
