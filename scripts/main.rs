//! cargo x: the project chores.
fn main() {}
