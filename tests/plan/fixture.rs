//! Objects that the scenarios begin with, and names for versions, so that what is written reads well.

use serde_json::{Value, json};
use tidegate::api::names::PodTemplateHash;
use tidegate::plan::model::Kind;
use tidegate::plan::revision::hash_template;
use tidegate::plan::snapshot::TemplateSeen;

use crate::cluster::Cluster;

pub const VERSIONS: [&str; 5] = ["v1", "v2", "v3", "v4", "v5"];

pub fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "checkout"}},
        "spec": {"containers": [{"name": "app", "image": format!("checkout:{version}")}]},
    })
}

pub fn hash(version: &str) -> PodTemplateHash {
    hash_template(&template(version))
}

/// Hashes become the names of the versions.
pub fn readable(text: &str) -> String {
    VERSIONS.iter().fold(text.to_owned(), |text, version| {
        text.replace(hash(version).as_str(), version)
    })
}

fn rollout(canary: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "rollout-uid", "generation": 1},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": template("v1"),
            "strategy": {"canary": canary},
        },
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"team": "payments"}},
        "spec": {"selector": {"app": "checkout"}, "ports": [{"name": "http", "port": 80, "targetPort": 9080}]},
    })
}

pub fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "checkout-stable", "port": {"number": 80}}}},
        ]}}]},
    })
}

pub fn http_route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "checkout-stable", "port": 80}]}]},
    })
}

/// One measurement that somebody else takes; the scenarios set the verdict.
fn analysis_template(name: &str, metric: Value) -> TemplateSeen {
    let spec = json!({"metrics": [metric]});
    serde_json::from_value(json!({"reference": {"templateName": name}, "spec": spec})).unwrap()
}

fn templates() -> Vec<TemplateSeen> {
    let metric = |more: Value| {
        let mut metric = json!({
            "name": "errors",
            "successCondition": "result[0] < 0.01",
            "provider": {"prometheus": {"query": "sum(rate(errors_total[1m]))"}},
        });
        metric
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        metric
    };
    vec![
        analysis_template("errors", metric(json!({"count": 3, "interval": "10s"}))),
        analysis_template("endless", metric(json!({"interval": "10s"}))),
    ]
}

fn cluster(canary: Value, more: Vec<(Kind, Value)>) -> Cluster {
    let mut cluster = Cluster::new(templates());
    cluster.put(Kind::Rollout, rollout(canary));
    for (kind, object) in more {
        cluster.put(kind, object);
    }
    cluster
}

/// What `extra` says is added to `strategy.canary`, over what is there.
pub fn with(mut canary: Value, extra: Value) -> Value {
    canary
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    canary
}

fn routed(routing: Value, steps: Value, extra: Value) -> Value {
    let canary = json!({
        "stableService": "checkout-stable",
        "canaryService": "checkout-canary",
        "trafficRouting": routing,
        "steps": steps,
    });
    with(canary, extra)
}

/// Five pods of `v1` to be deployed, behind an Ingress.
pub fn nginx_with(steps: Value, extra: Value) -> Cluster {
    let routing = json!({"nginx": {"stableIngress": "web"}});
    let services = ["checkout-stable", "checkout-canary"].map(|name| (Kind::Service, service(name)));
    let objects = services.into_iter().chain([(Kind::Ingress, ingress())]).collect();
    cluster(routed(routing, steps, extra), objects)
}

pub fn nginx(steps: Value) -> Cluster {
    nginx_with(steps, json!({}))
}

/// The same behind an HTTPRoute.
pub fn gateway_with(steps: Value, extra: Value) -> Cluster {
    let routing = json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}]}});
    let services = ["checkout-stable", "checkout-canary"].map(|name| (Kind::Service, service(name)));
    let objects = services
        .into_iter()
        .chain([(Kind::HttpRoute, http_route())])
        .collect();
    cluster(routed(routing, steps, extra), objects)
}

/// The same without traffic routing.
pub fn basic_with(steps: Value, extra: Value) -> Cluster {
    cluster(with(json!({"steps": steps}), extra), Vec::new())
}

/// Two weights with pauses, the second of which a person ends.
pub fn five_steps() -> Value {
    json!([
        {"setWeight": 20}, {"pause": {"duration": "10s"}},
        {"setWeight": 50}, {"pause": {}},
        {"setWeight": 80},
    ])
}

/// From now on the data plane is asked for the canary's share of the requests.
pub fn ask_data_plane(cluster: &mut Cluster) {
    let asked = json!({"prometheus": {"query": "vector(0.5)", "requests": "vector(100)"}});
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["strategy"]["canary"]["trafficRouting"]["dataPlane"] = asked;
    });
}
