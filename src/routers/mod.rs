//! Pure renderers of traffic weights into route objects, and their verification.
//!
//! In: what the routes of one Rollout should say ([`RouteTarget`]) and the raw objects as the API server
//! returned them ([`ObservedRoutes`]). Out: the writes that are missing, what the routes say now, or what is
//! wrong with them. One module per dialect, [`nginx`] and [`gateway`]; none holds a client.
//!
//! Guarantees: every rule that leads to the stable Service carries the same vector, explicit integers that sum
//! to `max_weight`; foreign backends, rules, filters and annotations stay byte-identical; what is already said
//! is not written again; no input panics. What `validate` refuses may stay unwritten, and is never verified.
//!
//! Assumes: `observed` holds every name of [`names_to_observe`]. A name that is missing was not read, and then
//! nothing is written or verified on its account.

mod destination;
mod gateway;
mod nginx;
mod object;
mod share;
pub mod traefik;
mod violation;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::names::Weight;
use crate::api::patch::PatchOp;
use crate::api::rollout::TrafficRouting;

pub use destination::{Destination, canary_destinations, destinations};
pub use gateway::ADDED_BACKEND_PREFIX;
pub use nginx::refused_keys as refused_annotations;
pub use share::WeightState;
pub use violation::{Reason, Violation};

/// Ingress data planes read a total below 100 as 100; an HTTPRoute takes no weight above a million.
const WEIGHT_RANGE: RangeInclusive<i64> = 100..=1_000_000;

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
///
/// Who trims them keeps of `metadata` name, uid, resourceVersion, generation, ownerReferences and the whole of
/// labels and annotations (a map that seems absent is added as a whole, over what is there), and `spec` as it is.
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

/// The routes as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub state: WeightState,
    /// How far the routes have come with the weight that they show.
    pub verification: Verification,
    /// What a person must mend.
    pub violations: Vec<Violation>,
}

/// Names of the routes, for a Rollout of this name: those the spec names, and our canary Ingresses.
pub fn names_to_observe(routing: &TrafficRouting, rollout: &str) -> RouteNames {
    let stable = routing.nginx.iter().flat_map(nginx::names);
    let ingresses = stable.flat_map(|name| [name.to_owned(), nginx::canary_name(rollout, name)]);
    let http_routes = routing.gateway_api.iter().flat_map(gateway::names);
    RouteNames {
        ingresses: ingresses.collect(),
        http_routes: http_routes.map(str::to_owned).collect(),
    }
}

/// Everything a person must mend before weights are touched; empty when the routes fit.
fn validate(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Vec<Violation> {
    let nginx = routing.nginx.as_ref();
    let gateway = routing.gateway_api.as_ref();
    let mut violations = Vec::new();
    if nginx.is_some() == gateway.is_some() {
        violations.push(target.violation(
            Reason::RoutingInvalid,
            "nginx",
            "exactly one of nginx and gatewayAPI must be set",
            "keep the one that splits the traffic",
        ));
    }
    if !WEIGHT_RANGE.contains(&target.max_weight.0) {
        violations.push(target.violation(
            Reason::RoutingInvalid,
            "maxTrafficWeight",
            format!("is {}", target.max_weight),
            format!("use {} to {}", WEIGHT_RANGE.start(), WEIGHT_RANGE.end()),
        ));
    }
    violations.extend(
        nginx
            .into_iter()
            .flat_map(|nginx| nginx::validate(target, nginx, observed)),
    );
    violations.extend(
        gateway
            .into_iter()
            .flat_map(|gateway| gateway::validate(target, gateway, observed)),
    );
    violations
}

/// The writes that make the routes say the target, at most one per object and with no order between them;
/// empty when they say it already. Canary Ingresses of ours that the spec no longer names are deleted.
pub fn render(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    let nginx = routing
        .nginx
        .iter()
        .flat_map(|nginx| nginx::render(target, nginx, observed));
    let gateway = routing
        .gateway_api
        .iter()
        .flat_map(|gateway| gateway::render(target, gateway, observed));
    let left = left_canaries(target, routing, observed)
        .map(|(name, canary)| object::delete(RouteKind::Ingress, name, canary));
    nginx.chain(gateway).chain(left).collect()
}

/// What the routes say now. Of `target`, the weight wanted plays no role.
fn observed_weight(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> WeightState {
    let mut shares = Vec::new();
    if let Some(nginx) = &routing.nginx {
        shares.extend(nginx::shares(target, nginx, observed));
    }
    // Those left of a dialect that the spec no longer names are read with the prefix they most likely have.
    let nginx = routing.nginx.clone().unwrap_or_default();
    let left = left_canaries(target, routing, observed);
    shares.extend(left.map(|(_, canary)| nginx::canary_share(target, &nginx, canary)));
    if let Some(gateway) = &routing.gateway_api {
        shares.extend(gateway::shares(target, gateway, observed));
    }
    share::combine(&shares, target.max())
}

/// Everything about the routes as they are, in one go. Of `target`, the weight wanted plays no role: what is
/// verified is the weight that is seen.
pub fn inspect(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Inspection {
    let state = observed_weight(target, routing, observed);
    let violations = validate(target, routing, observed);
    let shown = RouteTarget {
        canary_weight: state.canary_max(),
        ..*target
    };
    Inspection {
        state,
        verification: verify_state(&shown, routing, observed, state, &violations),
        violations,
    }
}

fn verify_state(
    target: &RouteTarget,
    routing: &TrafficRouting,
    observed: &ObservedRoutes,
    state: WeightState,
    violations: &[Violation],
) -> Verification {
    // A route that is missing is refused, and one that was not read may say anything.
    let is_written = state == WeightState::Is(Weight(target.canary()))
        && violations.is_empty()
        && render(target, routing, observed).is_empty();
    if !is_written {
        return Verification::Unwritten;
    }
    let refusal = routing
        .gateway_api
        .iter()
        .flat_map(gateway::names)
        .filter_map(|name| observed.http_routes.get(name)?.as_ref())
        .find_map(|route| gateway::refusal(target, route));
    match refusal {
        Some(message) => Verification::NotAccepted { message },
        None => Verification::Written,
    }
}

/// The writes that give all traffic to stable and take out what we added, for a Rollout that goes or no longer
/// routes traffic. Works on whatever `observed` holds, so that the names may come from an older spec; empty once
/// all of it is done.
pub fn remove(target: &RouteTarget, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    let mut writes = remove_canaries(target.rollout_uid, target.rollout_name, observed);
    writes.extend(gateway::remove(target, observed));
    writes
}

/// The deletes of every canary Ingress of a Rollout.
pub fn remove_canaries(uid: &str, rollout: &str, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    own_ingresses(uid, rollout, observed)
        .map(|(name, canary)| object::delete(RouteKind::Ingress, name, canary))
        .collect()
}

/// Canary Ingresses of ours that no stable Ingress of the spec asks for.
fn left_canaries<'a>(
    target: &RouteTarget<'a>,
    routing: &TrafficRouting,
    observed: &'a ObservedRoutes,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let names = names_to_observe(routing, target.rollout_name).ingresses;
    own_ingresses(target.rollout_uid, target.rollout_name, observed)
        .filter(move |(name, _)| !names.contains(*name))
}

fn own_ingresses<'a>(
    uid: &'a str,
    rollout: &'a str,
    observed: &'a ObservedRoutes,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    observed
        .ingresses
        .iter()
        .filter_map(|(name, ingress)| Some((name.as_str(), ingress.as_ref()?)))
        .filter(move |(_, ingress)| object::is_of_rollout(ingress, uid, rollout))
}

impl RouteTarget<'_> {
    /// The canary's part of the vector.
    fn canary(&self) -> i64 {
        self.canary_weight.0.clamp(0, self.max())
    }

    /// Stable's part: the rest.
    fn stable(&self) -> i64 {
        self.max().saturating_sub(self.canary())
    }

    fn max(&self) -> i64 {
        self.max_weight.0.max(0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A target with this canary weight of 100, for the tests of all submodules.
    pub fn target(canary_weight: i64) -> RouteTarget<'static> {
        RouteTarget {
            rollout_name: "checkout",
            rollout_uid: "rollout-uid",
            namespace: "shop",
            stable_service: "checkout-stable",
            canary_service: "checkout-canary",
            canary_weight: Weight(canary_weight),
            max_weight: Weight(100),
        }
    }

    #[test]
    fn the_vector_is_never_negative() {
        for (weight, want) in [
            (-5, (0, 100)),
            (0, (0, 100)),
            (150, (100, 0)),
            (i64::MIN, (0, 100)),
        ] {
            let target = target(weight);
            assert_eq!((target.canary(), target.stable()), want);
        }
    }
}
