//! What `validate` refuses, in the words a person reads.

use serde_json::{Value, json};
use tidegate::api::names::Weight;
use tidegate::routers::{self, Reason, Verification};

use crate::model::{observe, routing, target, verify};
use crate::object::{backends, gateway, ingress, marked, nginx, path, route};

/// Exactly these sentences, and never verified.
fn assert_refused(routing_value: Value, objects: &[Value], want: &[(Reason, &str)]) {
    let routing = routing(routing_value);
    let observed = observe(&routing, objects);
    let found: Vec<(Reason, String)> = routers::inspect(&target(10), &routing, &observed)
        .violations
        .into_iter()
        .map(|violation| (violation.reason, violation.to_string()))
        .collect();
    let want: Vec<(Reason, String)> = want
        .iter()
        .map(|(reason, text)| (*reason, text.to_string()))
        .collect();
    assert_eq!(found, want);
    for weight in [0, 10, 50, 100] {
        let verification = verify(&target(weight), &routing, &observed);
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
    assert_eq!(verify(&target(50), &routing, &observed), Verification::Unwritten);
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
fn the_sum_of_weights_has_limits() {
    let routing = routing(gateway());
    let observed = observe(&routing, &[route(json!([backends(&[("checkout-stable", 1)])]))]);
    for (max, refused) in [
        (0, true),
        (99, true),
        (100, false),
        (1_000_000, false),
        (1_000_001, true),
        (-1, true),
    ] {
        let mut target = target(0);
        target.max_weight = Weight(max);
        let violations = routers::inspect(&target, &routing, &observed).violations;
        assert_eq!(!violations.is_empty(), refused, "{max}");
        assert_ne!(verify(&target, &routing, &observed), Verification::Written);
    }
}
