//! Semel.
fn main() {}
