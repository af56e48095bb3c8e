//! The pure core: every decision about a release. No IO, no clock, no randomness, no `async`.

pub mod model;
pub mod replicas;
pub mod snapshot;
pub mod validate;
