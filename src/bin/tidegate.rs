//! The controller and everything else that needs no kubectl: not there yet.

fn main() {}
