//! A store of routes that carries out the writes of a router.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate::api::names::Weight;
use tidegate::api::rollout::TrafficRouting;
use tidegate::routers::{
    ObservedRoutes, RouteKind, RouteTarget, RouteWrite, Verification, WeightState, inspect, names_to_observe,
};

/// How far the routes have come with the weight of the target.
pub fn verify(target: &RouteTarget, routing: &TrafficRouting, observed: &ObservedRoutes) -> Verification {
    let found = inspect(target, routing, observed);
    let shown = target.canary_weight.0.clamp(0, target.max_weight.0.max(0));
    if found.state == WeightState::Is(Weight(shown)) {
        found.verification
    } else {
        Verification::Unwritten
    }
}

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

pub fn routing(routing: Value) -> TrafficRouting {
    serde_json::from_value(routing).unwrap()
}

/// The objects given, and everything else that is to be read as absent.
pub fn observe(routing: &TrafficRouting, objects: &[Value]) -> ObservedRoutes {
    let names = names_to_observe(routing, target(0).rollout_name);
    let absent =
        |names: std::collections::BTreeSet<String>| names.into_iter().map(|name| (name, None)).collect();
    let mut observed = ObservedRoutes {
        ingresses: absent(names.ingresses),
        http_routes: absent(names.http_routes),
    };
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let routes = match object["kind"].as_str() {
            Some("Ingress") => &mut observed.ingresses,
            Some("HTTPRoute") => &mut observed.http_routes,
            kind => panic!("{kind:?} is no route"),
        };
        routes.insert(name, Some(object.clone()));
    }
    observed
}

/// Every object, by kind and name.
pub fn objects(observed: &ObservedRoutes) -> BTreeMap<(&str, String), Value> {
    let of = |kind: &'static str, routes: &BTreeMap<String, Option<Value>>| {
        routes
            .iter()
            .filter_map(|(name, route)| Some(((kind, name.clone()), route.clone()?)))
            .collect::<Vec<_>>()
    };
    [
        of("HTTPRoute", &observed.http_routes),
        of("Ingress", &observed.ingresses),
    ]
    .concat()
    .into_iter()
    .collect()
}

pub fn apply(observed: &mut ObservedRoutes, writes: &[RouteWrite]) {
    for write in writes {
        let routes = match write.kind() {
            RouteKind::Ingress => &mut observed.ingresses,
            RouteKind::HttpRoute => &mut observed.http_routes,
        };
        let route = routes.get_mut(write.name()).unwrap();
        match write {
            RouteWrite::Create { object, .. } => {
                assert!(route.is_none(), "{} is there already", write.name());
                *route = Some(object.clone());
            }
            RouteWrite::Patch { ops, .. } => {
                let patch = serde_json::from_value::<json_patch::Patch>(json!(ops)).unwrap();
                json_patch::patch(route.as_mut().unwrap(), &patch).unwrap();
            }
            RouteWrite::Delete { .. } => {
                assert!(route.is_some(), "{} is not there", write.name());
                *route = None;
            }
        }
    }
}
