//! Every measurement of Traefik that the table claims to repeat, by its name, and the order of effects.

use serde_json::json;

use super::*;

mod timing;

const HOST: &str = "shop.example";

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}

fn plane() -> DataPlane {
    DataPlane::new(Delays::all(TimeDelta::zero()))
}

fn put(plane: &mut DataPlane, millis: i64, kind: Kind, name: &str, object: Value) {
    plane.apply(at(millis), kind, &Key::new("shop", name), Some(&object));
}

fn service(plane: &mut DataPlane, name: &str) {
    let object = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    put(plane, 0, Kind::Service, name, object);
}

#[derive(Clone, Copy)]
enum State {
    Ready,
    NotReady,
    ServingTerminating,
    Unsaid,
}

fn endpoint(address: &str, pod: &str, state: State) -> Value {
    let conditions = match state {
        State::Ready => json!({"ready": true, "serving": true, "terminating": false}),
        State::NotReady => json!({"ready": false, "serving": false, "terminating": false}),
        State::ServingTerminating => json!({"ready": false, "serving": true, "terminating": true}),
        State::Unsaid => json!({}),
    };
    json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}})
}

fn slice(plane: &mut DataPlane, millis: i64, service: &str, endpoints: &[Value]) {
    let object = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 8080}],
        "endpoints": endpoints,
    });
    put(
        plane,
        millis,
        Kind::EndpointSlice,
        &format!("{service}-1"),
        object,
    );
}

fn ingress(service: &str, annotations: Value) -> Value {
    let path = json!({
        "path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": {"number": 80}}},
    });
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": HOST, "http": {"paths": [path]}}]},
    })
}

fn canary_ingress(weight: &str) -> Value {
    ingress(
        "canary",
        json!({"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight}),
    )
}

fn http_route(backends: Value) -> Value {
    json!({"spec": {"hostnames": [HOST], "rules": [{"backendRefs": backends}]}})
}

fn weights(stable: u64, canary: u64) -> Value {
    http_route(json!([
        {"name": "stable", "port": 80, "weight": stable},
        {"name": "canary", "port": 80, "weight": canary},
    ]))
}

/// Stable and canary Services with one pod each in the given states.
fn backends(plane: &mut DataPlane, stable: &[State], canary: &[State]) {
    for (name, octet, states) in [("stable", 1, stable), ("canary", 2, canary)] {
        service(plane, name);
        let endpoints: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(i, state)| endpoint(&format!("127.1.{octet}.{i}"), &format!("{name}-{i}"), *state))
            .collect();
        slice(plane, 0, name, &endpoints);
    }
}

/// An nginx-dialect pair at a weight.
fn nginx(weight: &str, stable: &[State], canary: &[State]) -> DataPlane {
    let mut plane = plane();
    backends(&mut plane, stable, canary);
    put(&mut plane, 0, Kind::Ingress, "shop", ingress("stable", json!({})));
    put(
        &mut plane,
        0,
        Kind::Ingress,
        "shop-canary",
        canary_ingress(weight),
    );
    plane
}

fn gateway(route: Value, stable: &[State], canary: &[State]) -> DataPlane {
    let mut plane = plane();
    backends(&mut plane, stable, canary);
    put(&mut plane, 0, Kind::HttpRoute, "shop", route);
    plane
}

fn percent(part: u64) -> Fraction {
    Fraction::new(u128::from(part), 100)
}

#[track_caller]
fn assert_shares(plane: &mut DataPlane, stable: u64, canary: u64, lost: &[(LostReason, u64)]) {
    let shares = plane.shares(at(0), HOST, "/");
    let share = |pod: &str| shares.pods.get(pod).copied().unwrap_or(Fraction::ZERO);
    assert_eq!(
        (share("stable-0"), share("canary-0")),
        (percent(stable), percent(canary))
    );
    let lost: BTreeMap<_, _> = lost
        .iter()
        .map(|(reason, part)| (*reason, percent(*part)))
        .collect();
    assert_eq!(shares.lost, lost);
    assert_deals_as_shared(plane, &shares);
}

/// 2,000 requests meet the long-run shares exactly.
#[track_caller]
fn assert_deals_as_shared(plane: &mut DataPlane, shares: &Shares) {
    let mut pods: BTreeMap<String, u128> = BTreeMap::new();
    let mut lost: BTreeMap<LostReason, u128> = BTreeMap::new();
    for _ in 0..2000 {
        match plane.route(at(0), HOST, "GET", "/") {
            Decision::To { pod, .. } => *pods.entry(pod).or_default() += 1,
            Decision::Lost(reason) => *lost.entry(reason).or_default() += 1,
        }
    }
    let dealt = |count: &u128| Fraction::new(*count, 2000);
    let nonzero = |shares: &BTreeMap<String, Fraction>| {
        shares
            .clone()
            .into_iter()
            .filter(|(_, share)| !share.is_zero())
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        pods.iter()
            .map(|(pod, n)| (pod.clone(), dealt(n)))
            .collect::<BTreeMap<_, _>>(),
        nonzero(&shares.pods)
    );
    assert_eq!(
        lost.iter()
            .map(|(reason, n)| (*reason, dealt(n)))
            .collect::<BTreeMap<_, _>>(),
        shares.lost
    );
}

use LostReason::*;
use State::*;

#[test]
fn share_at_0_1_5_25_50_75_100_is_exact() {
    for weight in [0, 1, 5, 25, 50, 75, 100] {
        assert_shares(
            &mut nginx(&weight.to_string(), &[Ready], &[Ready]),
            100 - weight,
            weight,
            &[],
        );
        assert_shares(
            &mut gateway(weights(100 - weight, weight), &[Ready], &[Ready]),
            100 - weight,
            weight,
            &[],
        );
    }
}

#[test]
fn canary_has_no_endpoints() {
    assert_shares(&mut nginx("50", &[Ready], &[]), 100, 0, &[]);
    assert_shares(&mut nginx("50", &[Ready], &[NotReady]), 100, 0, &[]);
    assert_shares(
        &mut gateway(weights(50, 50), &[Ready], &[]),
        50,
        0,
        &[(NoEndpoint, 50)],
    );
    assert_shares(
        &mut gateway(weights(50, 50), &[Ready], &[NotReady]),
        50,
        0,
        &[(NoEndpoint, 50)],
    );
}

#[test]
fn canary_service_deleted() {
    let mut nginx = nginx("50", &[Ready], &[Ready]);
    let mut gateway = gateway(weights(50, 50), &[Ready], &[Ready]);
    for plane in [&mut nginx, &mut gateway] {
        plane.apply(at(0), Kind::Service, &Key::new("shop", "canary"), None);
    }
    assert_shares(&mut nginx, 100, 0, &[]);
    assert_shares(&mut gateway, 50, 0, &[(NoService, 50)]);
    assert_eq!(NoService.status(), 500);
}

#[test]
fn all_canary_endpoints_serving_but_terminating() {
    assert_shares(
        &mut nginx("50", &[Ready], &[ServingTerminating]),
        50,
        0,
        &[(Terminating, 50)],
    );
    assert_shares(
        &mut gateway(weights(50, 50), &[Ready], &[ServingTerminating]),
        50,
        0,
        &[(Terminating, 50)],
    );
    assert_eq!(Terminating.status(), 503);
}

#[test]
fn one_of_two_canary_endpoints_terminating_loses_nothing() {
    assert_shares(
        &mut nginx("50", &[Ready], &[Ready, ServingTerminating]),
        50,
        50,
        &[],
    );
    assert_shares(
        &mut gateway(weights(50, 50), &[Ready], &[Ready, ServingTerminating]),
        50,
        50,
        &[],
    );
}

#[test]
fn stable_has_no_endpoints() {
    assert_shares(&mut nginx("50", &[], &[Ready]), 0, 50, &[(NoEndpoint, 50)]);
    assert_shares(
        &mut gateway(weights(50, 50), &[], &[Ready]),
        0,
        50,
        &[(NoEndpoint, 50)],
    );
}

#[test]
fn canary_detached_loses_nothing() {
    let mut plane = nginx("50", &[Ready], &[Ready]);
    plane.apply(at(0), Kind::Ingress, &Key::new("shop", "shop-canary"), None);
    assert_shares(&mut plane, 100, 0, &[]);
}

#[test]
fn weights_are_plain_integers() {
    for garbage in ["-5", "50%", "33.3", "", "ten"] {
        assert_shares(&mut nginx(garbage, &[Ready], &[Ready]), 100, 0, &[]);
    }
    assert_shares(&mut nginx("150", &[Ready], &[Ready]), 0, 100, &[]);
}

#[test]
fn canary_weight_total() {
    for (weight, total, canary) in [
        ("50", "200", 25),
        ("50", "10", 50),
        ("50", "x", 50),
        ("300", "200", 100),
    ] {
        let mut plane = nginx("0", &[Ready], &[Ready]);
        let annotations = json!({
            "example.com/canary": "true", "example.com/canary-weight": weight, "example.com/canary-weight-total": total,
        });
        put(
            &mut plane,
            0,
            Kind::Ingress,
            "shop-canary",
            ingress("canary", annotations),
        );
        assert_shares(&mut plane, 100 - canary, canary, &[]);
    }
}

#[test]
fn a_canary_that_differs_in_class_host_path_or_path_type_gets_nothing() {
    let changes = [
        ("/spec/ingressClassName", json!("other")),
        ("/spec/rules/0/host", json!("other.example")),
        ("/spec/rules/0/http/paths/0/path", json!("/cart")),
        (
            "/spec/rules/0/http/paths/0/pathType",
            json!("ImplementationSpecific"),
        ),
    ];
    for (pointer, value) in changes {
        let mut plane = nginx("50", &[Ready], &[Ready]);
        let mut canary = canary_ingress("50");
        *canary.pointer_mut(pointer).unwrap() = value;
        put(&mut plane, 0, Kind::Ingress, "shop-canary", canary);
        assert_shares(&mut plane, 100, 0, &[]);
    }
}

#[test]
fn the_canary_splits_the_stable_service_under_another_host_too() {
    let mut plane = nginx("25", &[Ready], &[Ready]);
    let mut other = ingress("stable", json!({}));
    other["spec"]["rules"][0]["host"] = json!("other.example");
    put(&mut plane, 0, Kind::Ingress, "other", other);
    assert_eq!(
        plane.shares(at(0), "other.example", "/").pods["canary-0"],
        percent(25)
    );
}

#[test]
fn of_two_canaries_on_one_path_only_one_counts() {
    let mut plane = nginx("10", &[Ready], &[Ready]);
    put(&mut plane, 0, Kind::Ingress, "shop-second", canary_ingress("80"));
    assert_shares(&mut plane, 90, 10, &[]);
}

#[test]
fn an_omitted_http_route_weight_is_one() {
    let route = http_route(json!([{"name": "stable", "port": 80}, {"name": "canary", "port": 80}]));
    assert_shares(&mut gateway(route, &[Ready], &[Ready]), 50, 50, &[]);
}

#[test]
fn http_route_weights_that_sum_up_to_0_serve_nobody() {
    assert_shares(
        &mut gateway(weights(0, 0), &[Ready], &[Ready]),
        0,
        0,
        &[(NoBackend, 100)],
    );
}

#[test]
fn http_route_needs_ready_spelled_out() {
    assert_shares(
        &mut gateway(weights(50, 50), &[Ready], &[Unsaid]),
        50,
        0,
        &[(NoEndpoint, 50)],
    );
    assert_shares(&mut nginx("50", &[Ready], &[Unsaid]), 50, 50, &[]);
}

#[test]
fn endpoints_of_one_address_are_one() {
    let mut plane = nginx("0", &[Ready], &[Ready]);
    slice(
        &mut plane,
        0,
        "stable",
        &[
            endpoint("127.1.1.0", "stable-0", Ready),
            endpoint("127.1.1.0", "twin", Ready),
        ],
    );
    assert_shares(&mut plane, 100, 0, &[]);
}

#[test]
fn no_route_is_lost() {
    let mut plane = nginx("50", &[Ready], &[Ready]);
    assert_eq!(
        plane.route(at(0), "unknown.example", "GET", "/"),
        Decision::Lost(NoRoute)
    );
    assert_eq!(
        plane.shares(at(0), "unknown.example", "/").lost_total(),
        Fraction::ONE
    );
    assert_eq!(NoRoute.status(), 404);
}

#[test]
fn exact_beats_prefix_and_longer_beats_shorter() {
    let mut plane = plane();
    backends(&mut plane, &[Ready], &[Ready]);
    let path = |path: &str, kind: &str, service: &str| json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}});
    let mut object = ingress("stable", json!({}));
    object["spec"]["rules"][0]["http"]["paths"] = json!([
        path("/", "Prefix", "stable"),
        path("/a", "Prefix", "canary"),
        path("/a/b", "Exact", "stable")
    ]);
    put(&mut plane, 0, Kind::Ingress, "shop", object);
    for (asked, pod) in [
        ("/", "stable-0"),
        ("/ab", "stable-0"),
        ("/a", "canary-0"),
        ("/a/x", "canary-0"),
        ("/a/b", "stable-0"),
    ] {
        assert_eq!(
            plane.shares(at(0), HOST, asked).pods.keys().collect::<Vec<_>>(),
            [pod],
            "{asked}"
        );
    }
}
