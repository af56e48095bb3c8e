//! Properties over generated routes: what is rendered verifies, sums to the maximal weight and leaves what is
//! foreign as it was; no shape of an object makes anything panic.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate::api::names::Weight;
use tidegate::api::rollout::TrafficRouting;
use tidegate::routers::{self, ObservedRoutes, RouteTarget, Verification, WeightState};

use crate::model::{apply, observe, routing, target, verify};

const OURS: [&str; 2] = ["checkout-stable", "checkout-canary"];
const PREFIX: &str = "nginx.ingress.kubernetes.io";

fn both() -> TrafficRouting {
    routing(json!({"nginx": {"stableIngress": "web"}, "gatewayAPI": {"httpRoutes": [{"name": "web"}]}}))
}

fn gateway() -> TrafficRouting {
    routing(json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}]}}))
}

fn nginx() -> TrafficRouting {
    routing(json!({"nginx": {"stableIngress": "web"}}))
}

/// A canary weight, also beyond its range, and the largest that there is.
fn weight_of() -> impl Strategy<Value = (i64, i64)> {
    let max = prop_oneof![Just(100), 100..=1_000_000i64];
    max.prop_flat_map(|max| (-10..=max + 10, Just(max)))
}

fn target_of(weight: i64, max: i64) -> RouteTarget<'static> {
    RouteTarget {
        max_weight: Weight(max),
        ..target(weight)
    }
}

fn weight() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        (0..=1_000_000i64).prop_map(|weight| Some(json!(weight))),
        (-3..=3i64).prop_map(|weight| Some(json!(weight))),
        Just(Some(json!("12"))),
        Just(Some(Value::Null)),
    ]
}

fn backend(name: &'static str) -> impl Strategy<Value = Value> {
    (weight(), 1..9i64, any::<bool>()).prop_map(move |(weight, port, filtered)| {
        let mut backend = json!({"name": name, "port": port});
        if let Some(weight) = weight {
            backend["weight"] = weight;
        }
        if filtered {
            backend["filters"] = json!([{"type": "ExtensionRef", "extensionRef": {"name": name}}]);
        }
        backend
    })
}

/// Stable perhaps with the canary, beside foreign backends, in any order.
fn rule() -> impl Strategy<Value = Value> {
    let canary = proptest::option::of(backend("checkout-canary"));
    let foreign = proptest::collection::vec(backend("legacy"), 0..3);
    (backend("checkout-stable"), canary, foreign)
        .prop_map(|(stable, canary, foreign)| [vec![stable], canary.into_iter().collect(), foreign].concat())
        .prop_shuffle()
        .prop_map(|backends| (backends, prop::sample::select(vec!["/", "/a", "/b"])))
        .prop_flat_map(|(backends, path)| (Just(backends), path))
        .prop_map(|(backends, path)| json!({"matches": [{"path": {"value": path}}], "backendRefs": backends}))
}

fn foreign_rule() -> impl Strategy<Value = Value> {
    proptest::collection::vec(backend("assets"), 0..3).prop_map(|backends| json!({"backendRefs": backends}))
}

fn http_route() -> impl Strategy<Value = Value> {
    let rules = proptest::collection::vec(prop_oneof![rule(), foreign_rule()], 0..4);
    (rules, rule(), 0..4usize).prop_map(|(mut rules, rule, at)| {
        rules.insert(at.min(rules.len()), rule);
        let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": 1});
        json!({
            "kind": "HTTPRoute",
            "metadata": {"name": "web", "generation": 1, "annotations": {"a": "b"}},
            "spec": {"parentRefs": [{"name": "public"}], "rules": rules},
            "status": {"parents": [{"parentRef": {"name": "public"},
                       "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}
        })
    })
}

fn backends(rule: &Value) -> &[Value] {
    rule["backendRefs"].as_array().map_or(&[], Vec::as_slice)
}

fn is_ours(backend: &Value) -> bool {
    backend["name"].as_str().is_some_and(|name| OURS.contains(&name))
}

/// The route without what a router may change.
fn foreign_part(route: &Value) -> Value {
    let mut route = route.clone();
    if let Some(annotations) = route["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| !key.starts_with(routers::ADDED_BACKEND_PREFIX));
    }
    for rule in route["spec"]["rules"].as_array_mut().unwrap() {
        let backends = rule["backendRefs"].as_array_mut().unwrap();
        backends.retain(|backend| !is_ours(backend));
    }
    route
}

fn the_route(observed: &ObservedRoutes) -> &Value {
    observed.http_routes["web"].as_ref().unwrap()
}

fn annotations() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[a-z]{1,5}(/[a-z~]{1,5})?",
        prop::sample::select(vec![
            "canary",
            "canary-weight",
            "canary-weight-total",
            "canary-by-cookie",
            "rewrite-target"
        ])
        .prop_map(|name| format!("{PREFIX}/{name}")),
    ];
    let value = prop_oneof!["\\PC{0,6}", "-?[0-9]{1,20}", Just("true".to_owned())];
    proptest::collection::btree_map(key, value, 0..6).prop_map(|map| json!(map))
}

fn ingresses() -> impl Strategy<Value = [Value; 2]> {
    let path =
        |service: &str| json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service}}});
    let spec = |service: &str| json!({"rules": [{"host": "a.b", "http": {"paths": [path(service)]}}]});
    let (stable, canary) = (spec("checkout-stable"), spec("checkout-canary"));
    (
        annotations(),
        prop_oneof![Just(canary), Just(json!({})), Just(Value::Null)],
    )
        .prop_map(move |(annotations, spec)| {
            let owners = json!([{"uid": "rollout-uid", "controller": true}]);
            [
                json!({"kind": "Ingress", "metadata": {"name": "web"}, "spec": stable}),
                json!({"kind": "Ingress", "spec": spec, "metadata": {
                "name": "checkout-web-canary", "ownerReferences": owners, "annotations": annotations}}),
            ]
        })
}

/// Every pointer into the value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (tidegate::api::patch::escape(key), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in children {
        pointers(value, &format!("{at}/{key}"), found);
    }
}

fn garbage() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(-7),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("ä\n{}"),
        json!([]),
        json!([null, {}]),
        json!({}),
        json!({"a": {"b": 1}}),
    ])
}

fn spoil(object: &mut Value, spots: &[(prop::sample::Index, Value)]) {
    for (spot, garbage) in spots {
        let mut found = Vec::new();
        pointers(object, "", &mut found);
        if let Some(place) = object.pointer_mut(&found[spot.index(found.len())]) {
            *place = garbage.clone();
        }
    }
}

fn spots() -> impl Strategy<Value = Vec<(prop::sample::Index, Value)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), garbage()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_route_says_the_target_and_keeps_what_is_foreign(route in http_route(), (weight, max) in weight_of()) {
        let (routing, target) = (gateway(), target_of(weight, max));
        let wanted = weight.clamp(0, max);
        let mut observed = observe(&routing, std::slice::from_ref(&route));
        let writes = routers::render(&target, &routing, &observed);
        apply(&mut observed, &writes);

        prop_assert_eq!(verify(&target, &routing, &observed), Verification::Written);
        prop_assert_eq!(routers::render(&target, &routing, &observed), vec![]);
        let after = the_route(&observed);
        prop_assert_eq!(foreign_part(after), foreign_part(&route));
        for rule in after["spec"]["rules"].as_array().unwrap() {
            let ours: Vec<&Value> = backends(rule).iter().filter(|backend| is_ours(backend)).collect();
            if let Some(first) = ours.first() {
                let sum: i64 = ours.iter().map(|backend| backend["weight"].as_i64().unwrap()).sum();
                prop_assert_eq!(sum, max);
                prop_assert!(wanted == 0 || ours.len() == 2, "{}", first);
            }
        }
    }

    #[test]
    fn removal_leaves_no_traffic_to_the_canary(route in http_route(), weight in 0..=100i64) {
        let (routing, target) = (gateway(), target(weight));
        let mut observed = observe(&routing, std::slice::from_ref(&route));
        let writes = routers::render(&target, &routing, &observed);
        apply(&mut observed, &writes);
        let writes = routers::remove(&target, &observed);
        apply(&mut observed, &writes);

        prop_assert_eq!(routers::remove(&target, &observed), vec![]);
        prop_assert_eq!(routers::inspect(&target, &routing, &observed).state, WeightState::Is(Weight(0)));
        prop_assert_eq!(foreign_part(the_route(&observed)), foreign_part(&route));
    }

    #[test]
    fn removal_leaves_the_backends_that_there_were(route in http_route(), weight in 0..=100i64, turn in 0..5usize) {
        let (routing, target) = (gateway(), target(weight));
        let mut observed = observe(&routing, std::slice::from_ref(&route));
        let writes = routers::render(&target, &routing, &observed);
        apply(&mut observed, &writes);
        let turned = |mut route: Value| {
            let rules = route["spec"]["rules"].as_array_mut().unwrap();
            let turn = turn % rules.len();
            rules.rotate_left(turn);
            route
        };
        let distinct = {
            let mut seen = std::collections::BTreeSet::new();
            let rules = route["spec"]["rules"].as_array().unwrap();
            rules.iter().all(|rule| seen.insert(rule["matches"].to_string()))
        };
        prop_assume!(distinct);
        let moved = turned(the_route(&observed).clone());
        let mut observed = observe(&routing, &[moved]);
        let writes = routers::remove(&target, &observed);
        apply(&mut observed, &writes);

        let names = |route: &Value| -> Vec<Vec<String>> {
            let rules = route["spec"]["rules"].as_array().unwrap().iter();
            let name = |backend: &Value| format!("{} {}", backend["name"], backend["port"]);
            rules.map(|rule| backends(rule).iter().map(name).collect()).collect()
        };
        prop_assert_eq!(names(the_route(&observed)), names(&turned(route)));
    }

    #[test]
    fn an_ingress_says_the_target_whatever_it_said_before(ingresses in ingresses(), (weight, max) in weight_of()) {
        let (routing, target) = (nginx(), target_of(weight, max));
        let mut observed = observe(&routing, &ingresses);
        let writes = routers::render(&target, &routing, &observed);
        apply(&mut observed, &writes);

        prop_assert_eq!(verify(&target, &routing, &observed), Verification::Written);
        prop_assert_eq!(routers::render(&target, &routing, &observed), vec![]);
        prop_assert_eq!(observed.ingresses["web"].as_ref(), Some(&ingresses[0]));
        let canary = observed.ingresses["checkout-web-canary"].as_ref().unwrap();
        let annotations = &canary["metadata"]["annotations"];
        let wanted = weight.clamp(0, max).to_string();
        prop_assert_eq!(annotations[format!("{PREFIX}/canary-weight")].as_str(), Some(wanted.as_str()));
        let total = annotations[format!("{PREFIX}/canary-weight-total")].as_str();
        prop_assert_eq!(total.map_or(100, |total| total.parse::<i64>().unwrap()), max);
        for (key, value) in ingresses[1]["metadata"]["annotations"].as_object().unwrap() {
            if !key.contains("/canary") {
                prop_assert_eq!(&annotations[key], value);
            }
        }
    }

    #[test]
    fn no_shape_panics(
        (mut route, mut ingresses, spots, weight) in (http_route(), ingresses(), [spots(), spots(), spots()], any::<i64>()),
    ) {
        spoil(&mut route, &spots[0]);
        spoil(&mut ingresses[0], &spots[1]);
        spoil(&mut ingresses[1], &spots[2]);
        let [stable, canary] = ingresses;
        let routing = both();
        let target = target(weight);
        let observed = ObservedRoutes {
            ingresses: [("web".to_owned(), Some(stable)), ("checkout-web-canary".to_owned(), Some(canary))].into(),
            http_routes: [("web".to_owned(), Some(route))].into(),
        };
        verify(&target, &routing, &observed);
        // Whatever the shape of an object, a patch fits the one it was made from.
        let is_object = |route: &Option<Value>| route.as_ref().is_some_and(|route| route["metadata"].is_object());
        prop_assume!(observed.ingresses.values().chain(observed.http_routes.values()).all(is_object));
        for writes in [routers::render(&target, &routing, &observed), routers::remove(&target, &observed)] {
            apply(&mut observed.clone(), &writes);
        }
    }
}
