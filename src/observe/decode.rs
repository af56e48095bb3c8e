//! Raw objects to what a snapshot holds. Lenient where a wrong value is somebody else's, so that one odd
//! annotation never stops a release.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::names::{HASH_LABEL, PodTemplateHash, REVISION_ANNOTATION, Revision};
use crate::api::resource::{is_controlled_by, is_nobodys, metadata_text};
use crate::api::time::parse_rfc3339;
use crate::plan::snapshot::{EndpointsReady, ReplicaSetSeen, ServiceSeen};

/// Of a Rollout. Where it is deleted without its pods, the garbage collector makes its ReplicaSets nobody's before it is
/// gone; they have our label all the same, and stay its own until then. Older ones are of a Rollout before it.
pub fn replica_set(object: &Value, rollout: &Value) -> ReplicaSetSeen {
    let uid = metadata_text(rollout, "uid").unwrap_or_default();
    let is_deleted = metadata_text(rollout, "deletionTimestamp").is_some();
    let created = |object| metadata_text(object, "creationTimestamp").and_then(parse_rfc3339);
    let was_owned = || is_deleted && is_nobodys(object) && created(object) >= created(rollout);
    let text = |field| metadata_text(object, field).unwrap_or_default().to_owned();
    let annotation = |name| entry(object, "annotations", name);
    let count = |pointer| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    ReplicaSetSeen {
        name: text("name"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        hash: PodTemplateHash(entry(object, "labels", HASH_LABEL).unwrap_or_default().to_owned()),
        revision: annotation(REVISION_ANNOTATION).and_then(Revision::from_annotation),
        is_bare: object.pointer("/metadata/annotations").is_none(),
        created_at: metadata_text(object, "creationTimestamp").and_then(parse_rfc3339),
        replicas: count("/spec/replicas"),
        running: count("/status/replicas"),
        ready: count("/status/readyReplicas"),
        available: count("/status/availableReplicas"),
        caught_up: count("/status/observedGeneration") >= count("/metadata/generation"),
        owned: is_controlled_by(object, uid) || was_owned(),
        deleting: metadata_text(object, "deletionTimestamp").is_some(),
    }
}

/// On an EndpointSlice: the Service that it is of.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The Service that an EndpointSlice is of.
pub fn service_of(slice: &Value) -> Option<&str> {
    entry(slice, "labels", SERVICE_NAME_LABEL)
}

/// How pods are called whose version is known: `<rollout>-<hash>-…`.
///
/// The API server cuts what it makes a name from to 58 characters before it adds five of its own, so that of a Rollout
/// with a name of 52 characters five digits of the hash are left. That the names of two of its versions begin alike then is
/// as likely as one in a million, and then their pods count for either: nothing is lost but the notice of a slice
/// that lags behind its selector, while pods that count for none would keep an abort from being carried out.
pub struct PodNames {
    beginnings: Vec<(String, PodTemplateHash)>,
}

/// `maxGeneratedNameLength` of the API server.
const MAX_BEGINNING: usize = 58;

impl PodNames {
    /// Of the versions that have a ReplicaSet, or that a Service selects although theirs is gone.
    pub fn new<'a>(
        rollout: &str,
        sets: impl Iterator<Item = &'a ReplicaSetSeen>,
        services: impl Iterator<Item = &'a ServiceSeen>,
    ) -> Self {
        let selected = services.filter_map(|service| service.selector.get(HASH_LABEL).cloned());
        let hashes = sets
            .map(|set| set.hash.clone())
            .chain(selected.map(PodTemplateHash));
        let known: BTreeSet<PodTemplateHash> = hashes.filter(|hash| !hash.is_empty()).collect();
        let beginning =
            |hash: &PodTemplateHash| format!("{rollout}-{hash}-").chars().take(MAX_BEGINNING).collect();
        PodNames {
            beginnings: known.into_iter().map(|hash| (beginning(&hash), hash)).collect(),
        }
    }

    fn versions(&self, pod: &str) -> impl Iterator<Item = &PodTemplateHash> {
        let is_of = |beginning: &str| {
            let end = pod.strip_prefix(beginning);
            end.is_some_and(|end| !end.is_empty() && !end.contains('-'))
        };
        let found = self
            .beginnings
            .iter()
            .filter(move |(beginning, _)| is_of(beginning));
        found.map(|(_, hash)| hash)
    }
}

/// Ready pods in the EndpointSlices of one Service, by the version their names tell. A pod that is in several slices,
/// one per address family, counts once.
pub fn endpoints<'a>(slices: impl Iterator<Item = &'a Value>, names: &PodNames) -> EndpointsReady {
    let endpoints = slices
        .filter_map(|slice| slice.get("endpoints")?.as_array())
        .flatten();
    // Absent means ready, as the API says.
    let ready =
        endpoints.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)));
    let mut pods = BTreeSet::new();
    let mut seen = EndpointsReady::default();
    for endpoint in ready {
        let Some(pod) = endpoint.pointer("/targetRef/name").and_then(Value::as_str) else {
            seen.others += 1;
            continue;
        };
        if !pods.insert(pod) {
            continue;
        }
        let mut is_known = false;
        for hash in names.versions(pod) {
            is_known = true;
            *seen.by_hash.entry(hash.clone()).or_default() += 1;
        }
        seen.others += i64::from(!is_known);
    }
    seen
}

/// A slice of pods that have none of the ports that the Service asks for by name: requests find nobody there.
pub fn is_portless(slice: &Value) -> bool {
    let ports = slice.get("ports").and_then(Value::as_array);
    ports.is_none_or(Vec::is_empty)
}

fn entry<'a>(object: &'a Value, map: &str, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get(map)?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(uid: &str) -> Value {
        json!({"metadata": {"uid": uid, "creationTimestamp": "2026-01-02T00:00:00Z"}})
    }

    #[test]
    fn a_replica_set_with_garbage_in_its_annotations_is_read_without_them() {
        for (revision, expected) in [
            ("7", Some(Revision(7))),
            ("abc", None),
            ("-1", None),
            ("0", None),
            ("", None),
        ] {
            let object = json!({
                "metadata": {
                    "name": "checkout-a", "uid": "u", "resourceVersion": "5",
                    "labels": {"tidegate.dev/pod-template-hash": "a"},
                    "annotations": {"tidegate.dev/revision": revision},
                    "ownerReferences": [{"uid": "other"}, {"uid": "mine", "controller": true}],
                },
                "spec": {"replicas": 3}, "status": {"replicas": 2, "availableReplicas": 1},
            });
            let seen = replica_set(&object, &rollout("mine"));
            assert_eq!(seen.revision, expected, "{revision}");
            assert_eq!(
                (seen.replicas, seen.running, seen.ready, seen.available),
                (3, 2, 0, 1)
            );
            assert_eq!((seen.owned, seen.deleting), (true, false));
            assert!(
                !replica_set(&object, &rollout("other")).owned,
                "an owner that is not the controller"
            );
        }
    }

    #[test]
    fn what_is_nobodys_stays_with_a_rollout_that_goes() {
        let before = "2026-01-01T00:00:00Z";
        let after = "2026-01-03T00:00:00Z";
        for (owners, created, is_deleted, owned) in [
            (Value::Null, after, true, true),
            (json!([]), after, true, true),
            (json!([]), after, false, false),
            (json!([]), before, true, false),
            (json!([{"uid": "other"}]), after, true, false),
        ] {
            let mut object = json!({"metadata": {"name": "checkout-a", "creationTimestamp": created}});
            if !owners.is_null() {
                object["metadata"]["ownerReferences"] = owners;
            }
            let mut rollout = rollout("mine");
            if is_deleted {
                rollout["metadata"]["deletionTimestamp"] = json!(after);
            }
            assert_eq!(
                replica_set(&object, &rollout).owned,
                owned,
                "{object} {is_deleted}"
            );
        }
    }

    #[test]
    fn a_status_of_an_older_size_is_known_as_such() {
        for (observed, caught_up) in [(json!(3), true), (json!(2), false), (Value::Null, false)] {
            let object = json!({
                "metadata": {"name": "checkout-a", "generation": 3}, "status": {"observedGeneration": observed},
            });
            assert_eq!(
                replica_set(&object, &rollout("mine")).caught_up,
                caught_up,
                "{observed}"
            );
        }
    }

    #[test]
    fn ready_endpoints_count_once_per_pod_under_their_version() {
        let endpoint = |pod: &str, ready: Option<bool>| json!({"targetRef": {"name": pod}, "conditions": {"ready": ready}});
        let v4 = json!({"endpoints": [
            endpoint("checkout-a-1", Some(true)), endpoint("checkout-a-2", Some(false)),
            endpoint("checkout-b-1", None), endpoint("checkout-extra-c-1", Some(true)), {"addresses": ["10.0.0.9"]},
        ]});
        let v6 = json!({"endpoints": [endpoint("checkout-a-1", Some(true))]});
        let null = json!({"endpoints": null});
        let seen = endpoints([v4, v6, null].iter(), &names("checkout", &["a", "b"]));
        let hash = |hash: &str| PodTemplateHash(hash.to_owned());
        assert_eq!(seen.by_hash, [(hash("a"), 1), (hash("b"), 1)].into());
        assert_eq!(seen.others, 2);
    }

    /// The first version has a ReplicaSet, the others are selected.
    fn names(rollout: &str, hashes: &[&str]) -> PodNames {
        let set = ReplicaSetSeen {
            hash: PodTemplateHash(hashes[0].to_owned()),
            ..ReplicaSetSeen::default()
        };
        let services = hashes[1..].iter().map(|hash| ServiceSeen {
            selector: [(HASH_LABEL.to_owned(), (*hash).to_owned())].into(),
            ..ServiceSeen::default()
        });
        PodNames::new(rollout, [set].iter(), services.collect::<Vec<_>>().iter())
    }

    #[test]
    fn pods_are_known_by_what_the_api_server_leaves_of_a_long_name() {
        let (one, other, alike) = ("0123456789", "9876543210", "0123499999");
        for (length, hash, found) in [
            (46, one, vec![one]),
            (47, one, vec![one]),
            (49, other, vec![other]),
            (52, one, vec![one, alike]),
            (52, other, vec![other]),
        ] {
            let rollout = "r".repeat(length);
            let mut pod = format!("{rollout}-{hash}-");
            pod.truncate(58);
            pod.push_str("x7k2p");
            let names = names(&rollout, &[one, other, alike]);
            let versions: Vec<&str> = names.versions(&pod).map(PodTemplateHash::as_str).collect();
            assert_eq!(versions, found, "{length} {hash}");
        }
    }
}
