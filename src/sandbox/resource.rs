//! The kinds the sandbox's parts read and write, and the few ways they look into an object. Objects are
//! [`DynamicObject`]s: the parts work with any API server and pass on fields they do not know.

use std::collections::BTreeMap;
use std::fmt;

use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// What names an object of a given kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        Key::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }

    /// The object's collection, in its namespace or, for a cluster-scoped object, in the cluster.
    pub fn api(&self, client: &kube::Client, resource: &ApiResource) -> Api<DynamicObject> {
        if self.namespace.is_empty() {
            Api::all_with(client.clone(), resource)
        } else {
            Api::namespaced_with(client.clone(), &self.namespace, resource)
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

pub fn pods() -> ApiResource {
    resource("", "v1", "Pod", "pods")
}

pub fn config_maps() -> ApiResource {
    resource("", "v1", "ConfigMap", "configmaps")
}

pub fn services() -> ApiResource {
    resource("", "v1", "Service", "services")
}

pub fn replica_sets() -> ApiResource {
    resource("apps", "v1", "ReplicaSet", "replicasets")
}

pub fn endpoint_slices() -> ApiResource {
    resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
}

pub fn ingresses() -> ApiResource {
    resource("networking.k8s.io", "v1", "Ingress", "ingresses")
}

pub fn http_routes() -> ApiResource {
    resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The text at a JSON pointer.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The list at a JSON pointer; absent is empty.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The map of texts at a JSON pointer (labels, selectors); absent is empty.
pub fn text_map(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let Some(map) = value.pointer(pointer).and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    map.iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// True when the pod's Ready condition is True.
pub fn is_ready(pod: &DynamicObject) -> bool {
    ready_condition(pod).is_some_and(|condition| text(condition, "/status") == Some("True"))
}

pub fn ready_condition(pod: &DynamicObject) -> Option<&Value> {
    list(&pod.data, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == Some("Ready"))
}

/// True when the object is being deleted.
pub fn is_terminating(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}
