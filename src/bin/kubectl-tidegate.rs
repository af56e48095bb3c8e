//! The kubectl plugin: not there yet.

fn main() {}
