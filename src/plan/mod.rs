//! The pure core: every decision about a release. No IO, no clock, no randomness, no `async`.

pub mod analysis;
pub mod condition;
pub mod model;
pub mod needs;
pub mod replicas;
pub mod snapshot;
pub mod template;
pub mod validate;
