//! Versions of the application: the hash of the raw pod template, the ReplicaSet that runs it, and the number
//! that people know it by.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::names::{
    API_VERSION, HASH_LABEL, POD_TEMPLATE_ANNOTATION, PodTemplateHash, REVISION_ANNOTATION, ROLLOUT_LABEL,
    Revision,
};
use crate::plan::snapshot::Snapshot;
use crate::plan::validate::valid::ValidRollout;

/// Version of [`hash_template`], kept in `status.hashAlgorithm`.
pub const HASH_ALGORITHM: &str = "v1";
const HASH_LENGTH: usize = 10;
/// Annotations may come to 256 KiB in all; a larger template is left out, and undo then makes a new revision.
const MAX_TEMPLATE_ANNOTATION: usize = 200 * 1024;

/// Hash of what the user wrote, never of a typed struct: a newer controller sees the same bytes and starts no
/// rollout.
pub fn hash_template(template: &Value) -> PodTemplateHash {
    PodTemplateHash(hash_value(template))
}

/// The same hash for a step, so that an edit can be noticed.
pub fn hash_value(value: &Value) -> String {
    let mut canonical = format!("{HASH_ALGORITHM}:");
    write_canonical(value, &mut canonical);
    let digest = Sha256::digest(canonical.as_bytes());
    let mut text = String::with_capacity(HASH_LENGTH);
    for byte in digest.iter().take(HASH_LENGTH / 2) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// JSON with sorted keys and no white space, whatever order the map type keeps.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (key, value) in sorted {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

pub fn replica_set_name(rollout: &str, hash: &PodTemplateHash) -> String {
    format!("{rollout}-{hash}")
}

/// The number for `hash`: its own if nothing is newer, else one more than any. `last` is the newest that was given
/// out, also to a version whose ReplicaSet was never made.
pub fn number_revision(snapshot: &Snapshot, last: Option<Revision>, hash: &PodTemplateHash) -> Revision {
    let owned = || snapshot.replica_sets.values().filter(|set| set.owned);
    let seen = owned().filter_map(|set| set.revision);
    let newest = seen.chain(last).max().unwrap_or_default();
    match owned().find(|set| set.hash == *hash).and_then(|set| set.revision) {
        Some(own) if own == newest => own,
        _ => Revision(newest.0.saturating_add(1)),
    }
}

/// The ReplicaSet for the current template, with its first pods. The template is passed through untouched but for
/// our hash label and, with `drainSeconds`, a preStop sleep where the user has no hook.
pub fn render_replica_set(
    spec: &ValidRollout,
    hash: &PodTemplateHash,
    revision: Revision,
    replicas: i64,
) -> Value {
    let mut template = spec.template.clone();
    insert_at(&mut template, &["metadata", "labels"], HASH_LABEL, json!(hash));
    if let Some(seconds) = spec.drain_seconds.filter(|seconds| *seconds > 0) {
        add_drain(&mut template, seconds);
    }
    let mut labels = template
        .pointer("/metadata/labels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    insert_at(&mut labels, &[], ROLLOUT_LABEL, json!(spec.name));
    let mut selector = serde_json::to_value(&spec.selector).unwrap_or_else(|_| json!({}));
    insert_at(&mut selector, &["matchLabels"], HASH_LABEL, json!(hash));
    let mut annotations = json!({ REVISION_ANNOTATION: revision.to_string() });
    let written = spec.template.to_string();
    if written.len() <= MAX_TEMPLATE_ANNOTATION {
        insert_at(&mut annotations, &[], POD_TEMPLATE_ANNOTATION, json!(written));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": replica_set_name(&spec.name, hash),
            "namespace": spec.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(spec)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}

/// Names the Rollout as the controller of what it creates.
pub fn owner_reference(spec: &ValidRollout) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "Rollout",
        "name": spec.name,
        "uid": spec.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Sets `key` in the map at `path`, making the maps on the way.
fn insert_at(value: &mut Value, path: &[&str], key: &str, inserted: Value) {
    let mut here = value;
    for segment in path {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(map) = here else { return };
        here = map.entry((*segment).to_owned()).or_insert_with(|| json!({}));
    }
    if !here.is_object() {
        *here = Value::Object(Map::new());
    }
    if let Value::Object(map) = here {
        map.insert(key.to_owned(), inserted);
    }
}

/// A pod taken out of a pool serves on until the data plane has noticed.
fn add_drain(template: &mut Value, seconds: i64) {
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let mut added = false;
    for container in pod
        .get_mut("containers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if container.pointer("/lifecycle/preStop").is_none() {
            insert_at(
                container,
                &["lifecycle"],
                "preStop",
                json!({"sleep": {"seconds": seconds}}),
            );
            added = true;
        }
    }
    let grace = pod
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(30);
    // The kubelet counts the hook into the grace period; the application keeps what it had.
    if added {
        pod.insert(
            "terminationGracePeriodSeconds".to_owned(),
            json!(grace.saturating_add(seconds)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::snapshot::ReplicaSetSeen;

    #[test]
    fn the_hash_is_of_the_bytes_the_user_wrote() {
        let one = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}]}, "metadata": {"labels": {"app": "a"}}});
        let same: Value = serde_json::from_str(
            r#"{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"image":"x:1","name":"a"}]}}"#,
        )
        .unwrap();
        assert_eq!(hash_template(&one), hash_template(&same));
        assert_eq!(hash_template(&one).as_str().len(), HASH_LENGTH);
        let unknown = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}], "future": 1}, "metadata": {"labels": {"app": "a"}}});
        assert_ne!(hash_template(&one), hash_template(&unknown));
        // Golden: this value must never change, or an upgrade would restart every Rollout.
        assert_eq!(hash_value(&json!({"a": 1})), "1094ceb723");
    }

    #[test]
    fn going_back_to_an_old_version_makes_a_new_revision() {
        let set = |hash: &str, revision| {
            let hash = PodTemplateHash(hash.to_owned());
            let name = replica_set_name("shop", &hash);
            (
                name.clone(),
                ReplicaSetSeen {
                    name,
                    hash,
                    revision: Some(Revision(revision)),
                    owned: true,
                    ..Default::default()
                },
            )
        };
        let snapshot = Snapshot {
            replica_sets: [set("aa", 1), set("bb", 2)].into(),
            ..Default::default()
        };
        // Revision 3 was given to a version whose ReplicaSet nobody admitted.
        let refused = Some(Revision(3));
        for (hash, last, revision) in [
            ("aa", None, 3),
            ("bb", None, 2),
            ("cc", None, 3),
            ("bb", Some(Revision(2)), 2),
            ("bb", refused, 4),
            ("dd", refused, 4),
        ] {
            assert_eq!(
                number_revision(&snapshot, last, &PodTemplateHash(hash.to_owned())),
                Revision(revision),
                "{hash} after {last:?}"
            );
        }
    }

    #[test]
    fn drain_respects_hooks_and_keeps_the_grace_period() {
        let mut template = json!({"spec": {"terminationGracePeriodSeconds": 20, "containers": [
            {"name": "a"}, {"name": "b", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}]}});
        add_drain(&mut template, 5);
        assert_eq!(
            template.pointer("/spec/containers/0/lifecycle/preStop/sleep/seconds"),
            Some(&json!(5))
        );
        assert_eq!(
            template.pointer("/spec/containers/1/lifecycle/preStop/sleep"),
            None
        );
        assert_eq!(
            template.pointer("/spec/terminationGracePeriodSeconds"),
            Some(&json!(25))
        );
    }
}
