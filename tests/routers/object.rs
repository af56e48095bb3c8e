//! Small routes for the tables of tests.

use serde_json::{Value, json};

pub fn ingress(name: &str, paths: Value) -> Value {
    json!({"kind": "Ingress", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"rules": [{"host": "a.example.com", "http": {"paths": paths}}]}})
}

pub fn path(service: &str) -> Value {
    json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

pub fn route(rules: Value) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": 1});
    json!({"kind": "HTTPRoute",
           "metadata": {"name": "web", "namespace": "shop", "generation": 1, "uid": "u", "resourceVersion": "7"},
           "spec": {"parentRefs": [{"name": "public"}], "rules": rules},
           "status": {"parents": [{"parentRef": {"name": "public"},
                      "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}})
}

pub fn backends(weights: &[(&str, i64)]) -> Value {
    let backends: Vec<Value> = weights
        .iter()
        .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}))
        .collect();
    json!({"backendRefs": backends})
}

pub fn nginx() -> Value {
    json!({"nginx": {"stableIngress": "web"}})
}

pub fn gateway() -> Value {
    json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}]}})
}

pub fn owned(mut canary: Value, weight: &str) -> Value {
    canary["metadata"]["ownerReferences"] = json!([{"uid": "rollout-uid", "controller": true}]);
    canary["metadata"]["labels"] = json!({"tidegate.dev/rollout": "checkout"});
    marked(canary, weight)
}

pub fn marked(mut canary: Value, weight: &str) -> Value {
    canary["metadata"]["annotations"] = json!({
        "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight});
    canary
}
