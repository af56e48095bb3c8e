//! Tests of the store, one request after the other.

mod admission;
mod deletion;
mod reading;
mod writing;

use super::*;

pub(super) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(super) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
pub(super) const GATES: &str = "/apis/example.dev/v1/namespaces/default/gates";

pub(super) fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A store that is asked in short.
pub(super) struct Desk {
    pub store: Store,
    pub now: DateTime<Utc>,
}

/// The answer in short: code and body.
pub(super) type Reply = (u16, Value);

impl Desk {
    pub fn new() -> Self {
        Desk {
            store: Store::new(1, start()),
            now: start(),
        }
    }

    /// With the resource `gates.example.dev`, whose spec has the given schema.
    pub fn with_gates(spec: Value) -> Self {
        let mut desk = Desk::new();
        desk.store.install_crd(start(), definition(spec)).unwrap();
        desk
    }

    pub fn send(&mut self, method: &str, path: &str, content_type: &str, body: &str) -> ApiResponse {
        let mut request = ApiRequest::new(method, path);
        request.content_type = content_type.to_owned();
        request.actor = "test".to_owned();
        request.body = body.as_bytes().to_vec();
        self.store.handle(self.now, &request)
    }

    fn reply(&mut self, method: &str, path: &str, content_type: &str, body: &Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let response = self.send(method, path, content_type, &body);
        (response.code, response.body.to_value())
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.reply("GET", path, "", &Value::Null)
    }

    pub fn post(&mut self, path: &str, body: Value) -> Reply {
        self.reply("POST", path, "application/json", &typed(path, body))
    }

    pub fn put(&mut self, path: &str, body: Value) -> Reply {
        self.reply("PUT", path, "application/json", &typed(path, body))
    }

    pub fn merge(&mut self, path: &str, body: Value) -> Reply {
        self.reply("PATCH", path, "application/merge-patch+json", &body)
    }

    pub fn json_patch(&mut self, path: &str, body: Value) -> Reply {
        self.reply("PATCH", path, "application/json-patch+json", &body)
    }

    pub fn delete(&mut self, path: &str, body: Value) -> Reply {
        self.reply("DELETE", path, "application/json", &body)
    }
}

/// Custom resources must say what they are; here the path says it.
fn typed(path: &str, mut body: Value) -> Value {
    if path.starts_with(GATES) {
        body["apiVersion"] = json!("example.dev/v1");
        body["kind"] = json!("Gate");
    }
    body
}

pub(super) fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

pub(super) fn replica_set(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}}},
    })
}

pub(super) fn definition(spec: Value) -> Value {
    json!({
        "metadata": {"name": "gates.example.dev"},
        "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"plural": "gates", "kind": "Gate"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.count", "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
                    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec,
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
    })
}

pub(super) fn open_spec() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

pub(super) fn message(reply: &Reply) -> &str {
    reply.1["message"].as_str().unwrap_or_default()
}
