//! What the routes say, what a write insists on, and what verification does not take for done.

use serde_json::json;
use tidegate::api::names::Weight;
use tidegate::api::patch::PatchOp;
use tidegate::routers::{self, ObservedRoutes, RouteWrite, Verification, WeightState, names_to_observe};

use crate::model::{apply, observe, routing, target, verify};
use crate::object::{backends, gateway, ingress, nginx, owned, path, route};

#[test]
fn what_was_not_read_is_neither_written_nor_verified() {
    let unread = ObservedRoutes::default();
    for value in [nginx(), gateway()] {
        let routing = routing(value);
        assert_eq!(routers::render(&target(10), &routing, &unread), []);
        assert_eq!(verify(&target(0), &routing, &unread), Verification::Unwritten);
        assert_eq!(
            routers::inspect(&target(0), &routing, &unread).state,
            WeightState::Mixed {
                canary_max: Weight(100),
                stable_max: Weight(100)
            }
        );
        let absent = observe(&routing, &[]);
        assert_eq!(
            routers::inspect(&target(0), &routing, &absent).state,
            WeightState::Absent
        );
        assert_eq!(verify(&target(0), &routing, &absent), Verification::Unwritten);
    }
}

#[test]
fn one_missing_route_keeps_the_others_from_being_verified() {
    let routing = routing(json!({"nginx": {"stableIngresses": ["web", "gone"]}}));
    let mut observed = observe(&routing, &[ingress("web", json!([path("checkout-stable")]))]);
    let writes = routers::render(&target(10), &routing, &observed);
    apply(&mut observed, &writes);
    assert_eq!(writes.len(), 1);
    assert_eq!(routers::render(&target(10), &routing, &observed), []);
    assert_eq!(verify(&target(10), &routing, &observed), Verification::Unwritten);
}

#[test]
fn a_canary_ingress_that_does_not_match_splits_nothing_somewhere() {
    let routing = routing(nginx());
    let mixed = |canary_max, stable_max| WeightState::Mixed {
        canary_max: Weight(canary_max),
        stable_max: Weight(stable_max),
    };
    let canary = || ingress("checkout-web-canary", json!([path("checkout-canary")]));
    let mut other_path_type = owned(canary(), "40");
    other_path_type["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = json!("Exact");
    let mut other_class = owned(canary(), "40");
    other_class["spec"]["ingressClassName"] = json!("other");
    let mut other_legacy_class = owned(canary(), "40");
    other_legacy_class["metadata"]["annotations"]["kubernetes.io/ingress.class"] = json!("other");
    for (canary, want) in [
        (owned(canary(), "40"), WeightState::Is(Weight(40))),
        (owned(canary(), "-5"), WeightState::Is(Weight(0))),
        (other_path_type, mixed(40, 100)),
        (other_class, mixed(40, 100)),
        (other_legacy_class, mixed(40, 100)),
        // Not marked, it is one more Ingress on the same path: who wins is anybody's guess.
        (canary(), mixed(100, 100)),
    ] {
        let observed = observe(
            &routing,
            &[ingress("web", json!([path("checkout-stable")])), canary],
        );
        assert_eq!(routers::inspect(&target(0), &routing, &observed).state, want);
    }
}

#[test]
fn a_new_generation_is_not_accepted_yet() {
    let routing = routing(gateway());
    let mut observed = observe(
        &routing,
        &[route(json!([backends(&[
            ("checkout-stable", 90),
            ("checkout-canary", 10)
        ])]))],
    );
    assert_eq!(verify(&target(10), &routing, &observed), Verification::Written);
    observed.http_routes.get_mut("web").unwrap().as_mut().unwrap()["metadata"]["generation"] = json!(2);
    assert_eq!(
        verify(&target(10), &routing, &observed),
        Verification::NotAccepted {
            message: "HTTPRoute web has generation 2, and Accepted is about 1 at Gateway public".to_owned()
        }
    );
}

#[test]
fn a_patch_is_minimal_and_insists_on_what_was_seen() {
    let routing = routing(gateway());
    let observed = observe(
        &routing,
        &[route(json!([backends(&[
            ("checkout-stable", 90),
            ("checkout-canary", 10)
        ])]))],
    );
    let at = "/spec/rules/0/backendRefs";
    assert_eq!(
        routers::render(&target(20), &routing, &observed),
        [RouteWrite::Patch {
            kind: routers::RouteKind::HttpRoute,
            name: "web".to_owned(),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            ops: vec![
                PatchOp::test(format!("{at}/0/name"), "checkout-stable"),
                PatchOp::test(format!("{at}/0/weight"), 90),
                PatchOp::replace(format!("{at}/0/weight"), 80),
                PatchOp::test(format!("{at}/1/name"), "checkout-canary"),
                PatchOp::test(format!("{at}/1/weight"), 10),
                PatchOp::replace(format!("{at}/1/weight"), 20),
            ],
        }]
    );
    let key = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";
    let routing = crate::model::routing(nginx());
    let canary = owned(
        ingress("checkout-web-canary", json!([path("checkout-canary")])),
        "10",
    );
    let observed = observe(
        &routing,
        &[ingress("web", json!([path("checkout-stable")])), canary],
    );
    let writes = routers::render(&target(20), &routing, &observed);
    let [RouteWrite::Patch { ops, .. }] = writes.as_slice() else {
        panic!("{writes:?}")
    };
    assert_eq!(*ops, [PatchOp::test(key, "10"), PatchOp::replace(key, "20")]);
}

#[test]
fn names_to_read_are_the_stable_and_our_own() {
    let names = names_to_observe(
        &routing(json!({"nginx": {"stableIngress": "web", "stableIngresses": ["web", "api"]}})),
        "checkout",
    );
    let ingresses: Vec<_> = names.ingresses.iter().map(String::as_str).collect();
    assert_eq!(
        ingresses,
        ["api", "checkout-api-canary", "checkout-web-canary", "web"]
    );
    assert!(names.http_routes.is_empty());
}

#[test]
fn canaries_left_of_another_dialect_count_until_they_are_gone() {
    let routing = routing(gateway());
    let left = owned(
        ingress("checkout-web-canary", json!([path("checkout-canary")])),
        "40",
    );
    let mut observed = observe(
        &routing,
        &[
            route(json!([backends(&[
                ("checkout-stable", 90),
                ("checkout-canary", 10)
            ])])),
            left,
        ],
    );
    assert_eq!(
        routers::inspect(&target(10), &routing, &observed).state,
        WeightState::Mixed {
            canary_max: Weight(40),
            stable_max: Weight(90)
        }
    );
    assert_eq!(verify(&target(10), &routing, &observed), Verification::Unwritten);
    let writes = routers::render(&target(10), &routing, &observed);
    assert!(
        matches!(writes.as_slice(), [RouteWrite::Delete { .. }]),
        "{writes:?}"
    );
    apply(&mut observed, &writes);
    assert_eq!(verify(&target(10), &routing, &observed), Verification::Written);
}
