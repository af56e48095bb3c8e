//! The objects of one application of the benchmarks: two pods behind two Services and an Ingress, and their Rollout.

use serde_json::{Value, json};

/// Two pods that need no scheduler.
pub fn template(name: &str, version: &str) -> Value {
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
    json!({
        "metadata": {"labels": {"app": name, "team": "bench", "tier": "web"}},
        "spec": {
            "nodeName": "sandbox",
            "containers": [{
                "name": "app",
                "image": format!("registry.example/{name}:{version}"),
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "REGION", "value": "eu-west-1"}],
                "resources": resources,
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
            }],
        },
    })
}

pub fn rollout(name: &str, steps: &Value, settle_seconds: u32) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, "v1"),
            "strategy": {"canary": {
                "stableService": format!("{name}-stable"), "canaryService": format!("{name}-canary"),
                "scaleDownDelaySeconds": 10, "abortScaleDownDelaySeconds": 10,
                "trafficRouting": {"settleSeconds": settle_seconds, "nginx": {"stableIngress": name}},
                "steps": steps,
            }},
        },
    })
}

/// `role` is `stable` or `canary`.
pub fn service(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("{name}-{role}")},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

pub fn ingress(name: &str) -> Value {
    let backend = json!({"service": {"name": format!("{name}-stable"), "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": format!("{name}.example"), "http": {"paths": [path]}}],
        },
    })
}
