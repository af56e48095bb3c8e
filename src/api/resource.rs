//! Every kind of object we read or write: where the API server keeps it and what it is called there.

use std::fmt;

use serde_json::{Value, json};

/// Namespace and name. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn of(object: &Value) -> Option<Self> {
        Some(ObjectKey {
            namespace: metadata_text(object, "namespace").unwrap_or_default().to_owned(),
            name: metadata_text(object, "name")?.to_owned(),
        })
    }

    /// A number that is spread evenly over keys and the same in every run: jitter without randomness (FNV-1a).
    pub fn spread(&self, salt: u32) -> u64 {
        let bytes = self.namespace.bytes().chain([b'/']).chain(self.name.bytes());
        bytes
            .chain(salt.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Rollout,
    RolloutCommand,
    AnalysisRun,
    AnalysisTemplate,
    ClusterAnalysisTemplate,
    ReplicaSet,
    Service,
    Ingress,
    HttpRoute,
    EndpointSlice,
    Lease,
    Event,
}

impl Resource {
    pub fn group(self) -> &'static str {
        match self {
            Resource::Rollout
            | Resource::RolloutCommand
            | Resource::AnalysisRun
            | Resource::AnalysisTemplate
            | Resource::ClusterAnalysisTemplate => super::names::GROUP,
            Resource::ReplicaSet => "apps",
            Resource::Service => "",
            Resource::Ingress => "networking.k8s.io",
            Resource::HttpRoute => "gateway.networking.k8s.io",
            Resource::EndpointSlice => "discovery.k8s.io",
            Resource::Lease => "coordination.k8s.io",
            Resource::Event => "events.k8s.io",
        }
    }

    pub fn version(self) -> &'static str {
        match self.group() {
            super::names::GROUP => super::names::VERSION,
            _ => "v1",
        }
    }

    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    pub fn kind(self) -> &'static str {
        match self {
            Resource::Rollout => "Rollout",
            Resource::RolloutCommand => "RolloutCommand",
            Resource::AnalysisRun => "AnalysisRun",
            Resource::AnalysisTemplate => "AnalysisTemplate",
            Resource::ClusterAnalysisTemplate => "ClusterAnalysisTemplate",
            Resource::ReplicaSet => "ReplicaSet",
            Resource::Service => "Service",
            Resource::Ingress => "Ingress",
            Resource::HttpRoute => "HTTPRoute",
            Resource::EndpointSlice => "EndpointSlice",
            Resource::Lease => "Lease",
            Resource::Event => "Event",
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Resource::Rollout => "rollouts",
            Resource::RolloutCommand => "rolloutcommands",
            Resource::AnalysisRun => "analysisruns",
            Resource::AnalysisTemplate => "analysistemplates",
            Resource::ClusterAnalysisTemplate => "clusteranalysistemplates",
            Resource::ReplicaSet => "replicasets",
            Resource::Service => "services",
            Resource::Ingress => "ingresses",
            Resource::HttpRoute => "httproutes",
            Resource::EndpointSlice => "endpointslices",
            Resource::Lease => "leases",
            Resource::Event => "events",
        }
    }

    pub fn is_namespaced(self) -> bool {
        self != Resource::ClusterAnalysisTemplate
    }

    /// Path of the collection; of all namespaces if `namespace` is empty.
    pub fn collection_path(self, namespace: &str) -> String {
        let root = match self.group() {
            "" => format!("/api/{}", self.version()),
            group => format!("/apis/{group}/{}", self.version()),
        };
        if namespace.is_empty() || !self.is_namespaced() {
            format!("{root}/{}", self.plural())
        } else {
            format!("{root}/namespaces/{namespace}/{}", self.plural())
        }
    }

    pub fn object_path(self, key: &ObjectKey) -> String {
        format!("{}/{}", self.collection_path(&key.namespace), key.name)
    }

    /// Says what it is, as items of a list do not.
    pub fn stamp(self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(self.api_version()));
            fields.insert("kind".to_owned(), json!(self.kind()));
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A text field of an object's metadata, such as `uid`.
pub fn metadata_text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str()
}

/// Whether the owner with this uid is the object's controller.
pub fn is_controlled_by(object: &Value, uid: &str) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let is_controller = |owner: &Value| {
        owner.get("controller") == Some(&Value::Bool(true))
            && owner.get("uid").and_then(Value::as_str) == Some(uid)
    };
    owners.is_some_and(|owners| owners.iter().any(is_controller))
}

/// Whether the object has no owner at all.
pub fn is_nobodys(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences");
    owners.is_none_or(|owners| owners.as_array().is_some_and(Vec::is_empty))
}

/// Whether `left` is an older version of the same object than `right`. Versions are numbers wherever we run;
/// where they are not, a version that differs counts as older, which costs a read and harms nothing.
pub fn is_older_version(left: &str, right: &str) -> bool {
    match (left.parse::<u128>(), right.parse::<u128>()) {
        (Ok(left), Ok(right)) => left < right,
        _ => left != right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        let key = ObjectKey::new("shop", "checkout");
        let cases = [
            (Resource::Service, "/api/v1/namespaces/shop/services/checkout"),
            (
                Resource::ReplicaSet,
                "/apis/apps/v1/namespaces/shop/replicasets/checkout",
            ),
            (
                Resource::HttpRoute,
                "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/checkout",
            ),
            (
                Resource::Rollout,
                "/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/checkout",
            ),
            (
                Resource::ClusterAnalysisTemplate,
                "/apis/tidegate.dev/v1alpha1/clusteranalysistemplates/checkout",
            ),
        ];
        for (resource, path) in cases {
            assert_eq!(resource.object_path(&key), path);
        }
        assert_eq!(Resource::Service.collection_path(""), "/api/v1/services");
    }

    #[test]
    fn versions_compare_as_numbers_and_otherwise_by_difference() {
        for (left, right, older) in [
            ("9", "10", true),
            ("10", "9", false),
            ("10", "10", false),
            ("a", "b", true),
            ("b", "a", true),
            ("a", "a", false),
            ("", "5", true),
        ] {
            assert_eq!(is_older_version(left, right), older, "{left} {right}");
        }
    }
}
