//! What is kept of an object in memory: the fields some decision reads, and nothing else.

use serde_json::{Map, Value, json};

use crate::api::names::{GROUP, POD_TEMPLATE_ANNOTATION, ROLLOUT_LABEL};
use crate::api::resource::{ObjectKey, Resource, metadata_text};

/// The whole object once more, as `kubectl apply` keeps it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Routes and our own kinds stay whole but for what keeps account of their fields; of the rest, only what we read.
pub fn trim(resource: Resource, object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        annotations.and_then(|annotations| annotations.shift_remove(LAST_APPLIED));
    }
    match resource {
        Resource::ReplicaSet => keep(
            object,
            &[
                "/spec/replicas",
                "/status/replicas",
                "/status/readyReplicas",
                "/status/availableReplicas",
                "/status/observedGeneration",
            ],
        ),
        Resource::Service => keep(object, &["/spec/selector", "/spec/type", "/spec/ports"]),
        Resource::Ingress => remove(object, "status"),
        _ => {}
    }
    resource.stamp(object);
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// Keeps identity, owners, labels and annotations of ours, and the fields `/a/b` that are named.
fn keep(object: &mut Value, pointers: &[&str]) {
    let mut kept = json!({"metadata": metadata(object.get("metadata"))});
    for pointer in pointers {
        let (Some(value), Some((section, field))) = (object.pointer(pointer), sections(pointer)) else {
            continue;
        };
        if let Some(fields) = kept.as_object_mut() {
            let section = fields.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Some(section) = section.as_object_mut() {
                section.insert(field.to_owned(), value.clone());
            }
        }
    }
    *object = kept;
}

/// `/a/b` as `a` and `b`.
fn sections(pointer: &str) -> Option<(&str, &str)> {
    pointer.strip_prefix('/')?.split_once('/')
}

fn metadata(metadata: Option<&Value>) -> Value {
    const FIELDS: [&str; 8] = [
        "namespace",
        "name",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "ownerReferences",
    ];
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let plain = FIELDS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), field(name)?.clone())));
    let ours = ["labels", "annotations"].into_iter().filter_map(|name| {
        let entries = field(name)?.as_object()?.iter();
        // Only undo reads the template, and it reads live.
        let ours = entries.filter(|(key, _)| key.starts_with(GROUP) && *key != POD_TEMPLATE_ANNOTATION);
        let ours: Map<String, Value> = ours.map(|(key, value)| (key.clone(), value.clone())).collect();
        Some((name.to_owned(), Value::Object(ours)))
    });
    Value::Object(plain.chain(ours).collect())
}

/// The Rollout an object belongs to: the one a command is for, or the one in our label, which is on everything
/// that a Rollout creates.
pub fn rollout_of(resource: Resource, object: &Value) -> Option<ObjectKey> {
    let name = match resource {
        Resource::RolloutCommand => object.get("spec")?.get("rollout"),
        _ => object.get("metadata")?.get("labels")?.get(ROLLOUT_LABEL),
    };
    let namespace = metadata_text(object, "namespace")?;
    Some(ObjectKey::new(namespace, name?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_set_is_kept_without_its_template() {
        let mut object = json!({
            "metadata": {
                "name": "checkout-1", "namespace": "shop", "uid": "u", "resourceVersion": "1",
                "managedFields": [{}], "generation": 3,
                "labels": {"app": "checkout", "tidegate.dev/rollout": "checkout"},
                "annotations": {"tidegate.dev/revision": "1", "tidegate.dev/pod-template": "{}", "note": "long"},
            },
            "spec": {"replicas": 3, "template": {"spec": {}}},
            "status": {"replicas": 3, "observedGeneration": 2, "conditions": []},
        });
        trim(Resource::ReplicaSet, &mut object);
        assert_eq!(
            object,
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {
                    "name": "checkout-1", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 3,
                    "labels": {"tidegate.dev/rollout": "checkout"},
                    "annotations": {"tidegate.dev/revision": "1"},
                },
                "spec": {"replicas": 3},
                "status": {"replicas": 3, "observedGeneration": 2},
            })
        );
    }

    #[test]
    fn a_route_stays_whole_and_its_status_only_where_it_is_read() {
        let full = json!({
            "metadata": {"name": "r", "managedFields": [], "annotations": {LAST_APPLIED: "{}"}},
            "spec": {"rules": [{"unknown": true}]},
            "status": {"parents": []},
        });
        for (resource, keeps_status) in [(Resource::HttpRoute, true), (Resource::Ingress, false)] {
            let mut object = full.clone();
            trim(resource, &mut object);
            assert_eq!(object.get("spec"), full.get("spec"));
            assert_eq!(object.get("status").is_some(), keeps_status, "{resource}");
            assert_eq!(object.pointer("/metadata/managedFields"), None);
            // That there are annotations is known: one more needs no new map.
            assert_eq!(object.pointer("/metadata/annotations"), Some(&json!({})));
        }
    }
}
