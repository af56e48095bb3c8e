//! What runs when, and nothing of what is decided: watches feed caches, caches wake keys, a queue runs one
//! reconcile per key at a time.
//!
//! The reconcile functions in [`rollout`] and [`analysis_run`] know stores and an API handle and nothing of
//! watches or queues, so that a simulation can drive the very same ones.

pub mod alert_poll;
pub mod alerts;
pub mod analysis_run;
pub mod context;
pub mod data_planes;
pub mod intake;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod recorder;
pub mod rollout;
pub mod run;
pub mod shard;
pub mod watch;
