//! What a user wrote to what the planner may trust, or the list of everything that is wrong with it.
//!
//! The API server has refused most of it already; one with an older CRD has not, so every rule of the CRDs is
//! checked here again, without CEL. Guarantees: a violation names a field by its path, and the fix where it
//! is known; a `ValidRollout` needs no further check. What needs other objects (Services, routes, templates)
//! is not judged here.

mod alert;
mod analysis;
mod canary;
mod rollout;
mod routing;
mod shape;
mod template;
pub mod valid;
mod violation;

pub use rollout::{validate_rollout, warn_rollout};
pub use template::validate_template;
pub use violation::{InvalidReason, Violation, Warning};
