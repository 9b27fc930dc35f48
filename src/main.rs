//! The `tidelog` program.

fn main() {}
