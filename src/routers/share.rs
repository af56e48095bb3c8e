//! Shares of traffic as routes state them, and what several routes say together.

use crate::api::names::Weight;

/// What all routes of a Rollout say about the canary, in parts of `maxTrafficWeight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightState {
    /// Every route is confirmed absent: no traffic is split.
    Absent,
    /// Every route gives the canary this share and stable the rest.
    Is(Weight),
    /// Routes or rules disagree, or cannot be read: the most that each side may be given.
    Mixed { canary_max: Weight, stable_max: Weight },
}
