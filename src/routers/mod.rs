//! Pure renderers of traffic weights into route objects, and their verification.
//!
//! In: what the routes of one Rollout should say ([`RouteTarget`]) and the raw objects as the API server
//! returned them ([`ObservedRoutes`]). Out: the writes that are missing, what the routes say now, or what is
//! wrong with them. One module per dialect, [`nginx`] and [`gateway`]; none holds a client.
//!
//! Guarantees: every rule that leads to the stable Service carries the same vector, explicit integers that sum
//! to `max_weight`; foreign backends, rules, filters and annotations stay byte-identical; what is already said
//! is not written again; no input panics. `render` leaves alone what `validate` refuses.
//!
//! Assumes: `observed` holds every name of [`names_to_observe`]. A name that is missing was not read, and then
//! nothing is written or verified on its account.

mod gateway;
mod nginx;
mod object;
mod share;
mod violation;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::names::Weight;
use crate::api::patch::PatchOp;
use crate::api::rollout::TrafficRouting;

pub use nginx::ALLOWED_ANNOTATIONS;
pub use share::WeightState;
pub use violation::{Reason, Violation};

/// What the routes of one Rollout should say.
#[derive(Clone, Copy, Debug)]
pub struct RouteTarget<'a> {
    pub rollout_name: &'a str,
    pub rollout_uid: &'a str,
    pub namespace: &'a str,
    pub stable_service: &'a str,
    pub canary_service: &'a str,
    /// Taken into `0..=max_weight`, so that no caller can write a negative weight.
    pub canary_weight: Weight,
    /// What the weights of the two Services sum to.
    pub max_weight: Weight,
}

/// Route objects by name, as the API server returned them. `None`: confirmed absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedRoutes {
    /// Stable Ingresses, our canary Ingresses, and any other that has our label.
    pub ingresses: BTreeMap<String, Option<Value>>,
    pub http_routes: BTreeMap<String, Option<Value>>,
}

/// The routes to read before anything here is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteNames {
    pub ingresses: BTreeSet<String>,
    pub http_routes: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteKind {
    Ingress,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
}

/// One finished write. The caller adds `resource_version` (and `uid` on delete) as precondition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RouteWrite {
    Create {
        kind: RouteKind,
        name: String,
        object: Value,
    },
    Patch {
        kind: RouteKind,
        name: String,
        uid: String,
        resource_version: String,
        ops: Vec<PatchOp>,
    },
    Delete {
        kind: RouteKind,
        name: String,
        uid: String,
        resource_version: String,
    },
}

/// How far a target has come. `Written` is not the end: a data plane follows later than any status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Something is still to be written, or a route is missing or was not read.
    Unwritten,
    /// The routes show the target, and a controller has not accepted that generation.
    NotAccepted { message: String },
    /// The routes show exactly the target and every controller that can tell has accepted it.
    Written,
}

/// Names of the routes, for a Rollout of this name.
pub fn names_to_observe(routing: &TrafficRouting, rollout: &str) -> RouteNames {
    todo!()
}

/// Everything a person must mend before weights are touched; empty when the routes fit.
pub fn validate(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Vec<Violation> {
    todo!()
}

/// The writes that make the routes say the target, at most one per object and with no order between them;
/// empty when they say it already.
pub fn render(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    todo!()
}

/// What the routes say now. Of `target`, the weight wanted plays no role.
pub fn observed_weight(
    target: &RouteTarget,
    routing: &TrafficRouting,
    observed: &ObservedRoutes,
) -> WeightState {
    todo!()
}

/// Whether the routes show exactly the target, accepted where the API can tell.
pub fn verify(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Verification {
    todo!()
}

/// The writes that give all traffic to stable and take out what we added, for a Rollout that goes or no longer
/// routes traffic. Works on whatever `observed` holds, so that the names may come from an older spec.
pub fn remove(target: &RouteTarget, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    todo!()
}

impl RouteKind {
    pub fn api_version(self) -> &'static str {
        match self {
            RouteKind::Ingress => "networking.k8s.io/v1",
            RouteKind::HttpRoute => "gateway.networking.k8s.io/v1",
        }
    }

    pub fn kind(self) -> &'static str {
        match self {
            RouteKind::Ingress => "Ingress",
            RouteKind::HttpRoute => "HTTPRoute",
        }
    }
}

impl RouteWrite {
    pub fn kind(&self) -> RouteKind {
        match self {
            RouteWrite::Create { kind, .. }
            | RouteWrite::Patch { kind, .. }
            | RouteWrite::Delete { kind, .. } => *kind,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            RouteWrite::Create { name, .. }
            | RouteWrite::Patch { name, .. }
            | RouteWrite::Delete { name, .. } => name,
        }
    }
}
