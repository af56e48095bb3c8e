<<<<<<< HEAD
//! The controller and everything else that needs no kubectl: not there yet.

=======
>>>>>>> 2b450f5 (Serve a cluster's API in the process: objects, schemas, watches and faults)
fn main() {}
