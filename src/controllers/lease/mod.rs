//! One leader at a time, by a Lease (coordination.k8s.io/v1).
//!
//! [`election`] decides, from the record of the Lease and a stopwatch; [`campaign`] reads and writes the Lease and
//! says what came of it: to [`crate::client::leadership`], which every write asks, and to whoever dispatches.
//!
//! Guarantees: whether a leader is gone is judged by how long *we* have seen its record unchanged, on the monotonic
//! clock, never by a time that somebody else wrote; a leader counts its own term from before it asked to renew it, so
//! it stops before anybody else may begin; every term has an epoch of its own, higher than those before.
//! Assumes monotonic clocks that run equally fast, to a few percent, and that nobody deletes the Lease.

pub mod campaign;
pub mod election;
