<<<<<<< HEAD
//! The kubectl plugin: not there yet.

=======
>>>>>>> store
fn main() {}
