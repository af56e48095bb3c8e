//! What `validate` refuses and what verification does not take for done.

use serde_json::{Value, json};
use tidegate::api::names::Weight;
use tidegate::api::patch::PatchOp;
use tidegate::routers::{
    self, ObservedRoutes, Reason, RouteWrite, Verification, WeightState, names_to_observe,
};

use crate::model::{apply, observe, routing, target};

fn ingress(name: &str, paths: Value) -> Value {
    json!({"kind": "Ingress", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"rules": [{"host": "a.example.com", "http": {"paths": paths}}]}})
}

fn path(service: &str) -> Value {
    json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

fn route(rules: Value) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": 1});
    json!({"kind": "HTTPRoute",
           "metadata": {"name": "web", "namespace": "shop", "generation": 1, "uid": "u", "resourceVersion": "7"},
           "spec": {"parentRefs": [{"name": "public"}], "rules": rules},
           "status": {"parents": [{"parentRef": {"name": "public"},
                      "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}})
}

fn backends(weights: &[(&str, i64)]) -> Value {
    let backends: Vec<Value> = weights
        .iter()
        .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}))
        .collect();
    json!({"backendRefs": backends})
}

fn nginx() -> Value {
    json!({"nginx": {"stableIngress": "web"}})
}

fn gateway() -> Value {
    json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}]}})
}

fn owned(mut canary: Value, weight: &str) -> Value {
    canary["metadata"]["ownerReferences"] = json!([{"uid": "rollout-uid", "controller": true}]);
    canary["metadata"]["labels"] = json!({"tidegate.dev/rollout": "checkout"});
    marked(canary, weight)
}

fn marked(mut canary: Value, weight: &str) -> Value {
    canary["metadata"]["annotations"] = json!({
        "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight});
    canary
}

/// Exactly these sentences, and never verified.
fn assert_refused(routing_value: Value, objects: &[Value], want: &[(Reason, &str)]) {
    let routing = routing(routing_value);
    let observed = observe(&routing, objects);
    let found: Vec<(Reason, String)> = routers::validate(&target(10), &routing, &observed)
        .into_iter()
        .map(|violation| (violation.reason, violation.to_string()))
        .collect();
    let want: Vec<(Reason, String)> = want
        .iter()
        .map(|(reason, text)| (*reason, text.to_string()))
        .collect();
    assert_eq!(found, want);
    for weight in [0, 10, 50, 100] {
        let verification = routers::verify(&target(weight), &routing, &observed);
        assert_eq!(verification, Verification::Unwritten);
    }
}

#[test]
fn ingress_missing() {
    assert_refused(
        nginx(),
        &[],
        &[(
            Reason::RouteNotFound,
            "Rollout checkout: spec.strategy.canary.trafficRouting.nginx.stableIngress: there is no Ingress web in \
             namespace shop; create it or correct the name",
        )],
    );
}

#[test]
fn ingress_in_another_namespace() {
    assert_refused(
        json!({"nginx": {"stableIngress": "other/web"}}),
        &[],
        &[(
            Reason::RoutingInvalid,
            "Rollout checkout: spec.strategy.canary.trafficRouting.nginx.stableIngress: \"other/web\" is no name of \
             an Ingress; name an Ingress in the Rollout's own namespace",
        )],
    );
}

#[test]
fn ingress_without_a_path_to_stable() {
    assert_refused(
        nginx(),
        &[ingress("web", json!([path("assets")]))],
        &[(
            Reason::RouteInvalid,
            "Ingress web: spec.rules: no rule leads to the stable Service checkout-stable; let the paths that should \
             be split lead there",
        )],
    );
}

#[test]
fn ingress_with_a_path_past_the_weights() {
    assert_refused(
        nginx(),
        &[ingress(
            "web",
            json!([path("checkout-stable"), path("checkout-canary")]),
        )],
        &[(
            Reason::RouteInvalid,
            "Ingress web: spec.rules: path \"/\" of host \"a.example.com\" leads to the canary Service \
             checkout-canary past the weights; let it lead to checkout-stable",
        )],
    );
}

#[test]
fn ingress_with_two_classes() {
    let mut web = ingress("web", json!([path("checkout-stable")]));
    web["spec"]["ingressClassName"] = json!("nginx");
    web["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "internal"});
    assert_refused(
        nginx(),
        &[web],
        &[(
            Reason::RouteInvalid,
            "Ingress web: spec.ingressClassName: is \"nginx\", and the annotation kubernetes.io/ingress.class says \
             \"internal\"; remove the annotation; no Ingress with both can be created",
        )],
    );
}

#[test]
fn canary_ingress_of_somebody_else() {
    let canary = marked(
        ingress("checkout-web-canary", json!([path("checkout-canary")])),
        "50",
    );
    let objects = [ingress("web", json!([path("checkout-stable")])), canary];
    assert_refused(
        nginx(),
        &objects,
        &[(
            Reason::RouteNotOurs,
            "Ingress checkout-web-canary: metadata.ownerReferences: a canary Ingress of this name is there, and \
             Rollout checkout is not its controller; delete it; Tidegate makes its own",
        )],
    );
    let routing = routing(nginx());
    let observed = observe(&routing, &objects);
    assert_eq!(routers::render(&target(10), &routing, &observed), []);
    assert_eq!(routers::remove(&target(10), &observed), []);
    // Even when it happens to say the target.
    assert_eq!(
        routers::verify(&target(50), &routing, &observed),
        Verification::Unwritten
    );
}

#[test]
fn stable_ingress_that_is_a_canary() {
    assert_refused(
        nginx(),
        &[marked(ingress("web", json!([path("checkout-stable")])), "0")],
        &[(
            Reason::RouteInvalid,
            "Ingress web: metadata.annotations: nginx.ingress.kubernetes.io/canary marks it as a canary; remove the \
             annotation, or name the Ingress of the stable version",
        )],
    );
}

#[test]
fn second_canary_ingress_on_a_path() {
    assert_refused(
        nginx(),
        &[
            ingress("web", json!([path("checkout-stable")])),
            marked(ingress("rival", json!([path("experiment")])), "5"),
        ],
        &[(
            Reason::RouteInvalid,
            "Ingress web: spec.rules: canary Ingress rival splits a path of it already, and only one can; delete \
             Ingress rival",
        )],
    );
}

#[test]
fn routing_that_names_nothing_or_both() {
    let at = "Rollout checkout: spec.strategy.canary.trafficRouting";
    let both = format!(
        "{at}.nginx: exactly one of nginx and gatewayAPI must be set; keep the one that splits the traffic"
    );
    let ingress = format!(
        "{at}.nginx.stableIngress: no Ingress is named; name the Ingress that leads to the stable Service"
    );
    let route = format!(
        "{at}.gatewayAPI.httpRoutes: no HTTPRoute is named; name the HTTPRoute that leads to the stable Service"
    );
    let invalid = Reason::RoutingInvalid;
    assert_refused(json!({}), &[], &[(invalid, &both)]);
    assert_refused(json!({"nginx": {}}), &[], &[(invalid, &ingress)]);
    assert_refused(
        json!({"nginx": {}, "gatewayAPI": {"httpRoutes": []}}),
        &[],
        &[(invalid, &both), (invalid, &ingress), (invalid, &route)],
    );
}

#[test]
fn route_missing_or_without_stable_or_parent() {
    assert_refused(
        gateway(),
        &[],
        &[(
            Reason::RouteNotFound,
            "Rollout checkout: spec.strategy.canary.trafficRouting.gatewayAPI.httpRoutes: there is no HTTPRoute web \
             in namespace shop; create it or correct the name",
        )],
    );
    let mut orphan = route(json!([backends(&[("assets", 1)])]));
    orphan["spec"]["parentRefs"] = json!([]);
    assert_refused(
        gateway(),
        &[orphan],
        &[
            (
                Reason::RouteInvalid,
                "HTTPRoute web: spec.parentRefs: the route belongs to no Gateway; name its Gateway",
            ),
            (
                Reason::RouteInvalid,
                "HTTPRoute web: spec.rules: no rule refers to the stable Service checkout-stable; let the rules that \
                 should be split refer to it",
            ),
        ],
    );
}

#[test]
fn rules_that_cannot_carry_the_vector() {
    assert_refused(
        gateway(),
        &[route(json!([
            backends(&[("checkout-stable", 1)]),
            backends(&[("checkout-canary", 1)]),
            backends(&[("checkout-stable", 50), ("checkout-stable", 50)]),
            backends(&[("checkout-stable", 9), ("legacy", 1)]),
            backends(&[("checkout-stable", 100), ("legacy", 1)]),
            backends(&[("checkout-stable", 9), ("legacy", 0)]),
        ]))],
        &[
            (
                Reason::RouteInvalid,
                "HTTPRoute web: spec.rules[1].backendRefs: the rule leads to the canary Service checkout-canary past \
                 the weights; let it refer to checkout-stable as well, or not to checkout-canary",
            ),
            (
                Reason::RouteInvalid,
                "HTTPRoute web: spec.rules[2].backendRefs: Service checkout-stable is there 2 times; keep one",
            ),
            (
                Reason::RouteInvalid,
                "HTTPRoute web: spec.rules[3].backendRefs: checkout-stable and checkout-canary have weight 9 together \
                 beside legacy with 1, whose share would change; scale the weights of the rule so that the two have \
                 100, or give the others weight 0",
            ),
        ],
    );
}

#[test]
fn what_was_not_read_is_neither_written_nor_verified() {
    let unread = ObservedRoutes::default();
    for value in [nginx(), gateway()] {
        let routing = routing(value);
        assert_eq!(routers::render(&target(10), &routing, &unread), []);
        assert_eq!(
            routers::verify(&target(0), &routing, &unread),
            Verification::Unwritten
        );
        assert_eq!(
            routers::observed_weight(&target(0), &routing, &unread),
            WeightState::Mixed {
                canary_max: Weight(100),
                stable_max: Weight(100)
            }
        );
        let absent = observe(&routing, &[]);
        assert_eq!(
            routers::observed_weight(&target(0), &routing, &absent),
            WeightState::Absent
        );
        assert_eq!(
            routers::verify(&target(0), &routing, &absent),
            Verification::Unwritten
        );
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
    assert_eq!(
        routers::verify(&target(10), &routing, &observed),
        Verification::Unwritten
    );
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
    for (canary, want) in [
        (owned(canary(), "40"), WeightState::Is(Weight(40))),
        (owned(canary(), "-5"), WeightState::Is(Weight(0))),
        (other_path_type, mixed(40, 100)),
        (other_class, mixed(40, 100)),
        // Not marked, it is one more Ingress on the same path: who wins is anybody's guess.
        (canary(), mixed(100, 100)),
    ] {
        let observed = observe(
            &routing,
            &[ingress("web", json!([path("checkout-stable")])), canary],
        );
        assert_eq!(routers::observed_weight(&target(0), &routing, &observed), want);
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
    assert_eq!(
        routers::verify(&target(10), &routing, &observed),
        Verification::Written
    );
    observed.http_routes.get_mut("web").unwrap().as_mut().unwrap()["metadata"]["generation"] = json!(2);
    assert_eq!(
        routers::verify(&target(10), &routing, &observed),
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
