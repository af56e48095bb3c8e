//! What a ReplicaSet creates, deletes and counts.

use super::*;

fn replica_set(spec: Value, status: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "shop-1", "namespace": "shop", "uid": "owner", "generation": 4},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

/// A pod created at a second of its minute; `ready` since a second, if it is.
fn pod(name: &str, created: u32, ready: Option<u32>) -> DynamicObject {
    let conditions = ready.map(|second| {
        json!([{"type": "Ready", "status": "True", "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z")}])
    });
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": name,
            "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-1", "uid": "owner", "controller": true,
            }],
        },
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn now() -> DateTime<Utc> {
    "2026-01-01T00:00:30Z".parse().unwrap()
}

fn deleted(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().map(|(key, _)| key.name.as_str()).collect()
}

#[test]
fn it_creates_what_is_missing() {
    assert_eq!(
        plan(
            &replica_set(json!({"replicas": 3}), json!({})),
            &[pod("a", 1, None)],
            now()
        )
        .create,
        2
    );
    assert_eq!(plan(&replica_set(json!({}), json!({})), &[], now()).create, 1);
}

#[test]
fn the_unready_go_first_then_the_newest() {
    let pods = [
        pod("old", 1, Some(2)),
        pod("new", 5, Some(6)),
        pod("unready", 0, None),
    ];
    for (replicas, gone) in [
        (2, vec!["unready"]),
        (1, vec!["unready", "new"]),
        (0, vec!["unready", "new", "old"]),
    ] {
        let plan = plan(
            &replica_set(json!({"replicas": replicas}), json!({})),
            &pods,
            now(),
        );
        assert_eq!(deleted(&plan), gone);
    }
}

#[test]
fn terminating_finished_and_foreign_pods_do_not_count() {
    let mut terminating = pod("terminating", 1, Some(1));
    terminating.metadata.deletion_timestamp = terminating.metadata.creation_timestamp.clone();
    let mut finished = pod("finished", 1, None);
    finished.data = json!({"status": {"phase": "Failed"}});
    let mut foreign = pod("foreign", 1, Some(1));
    foreign.metadata.owner_references = None;
    let plan = plan(
        &replica_set(json!({"replicas": 1}), json!({})),
        &[terminating, finished, foreign],
        now(),
    );
    assert_eq!((plan.create, plan.delete.len()), (1, 0));
}

#[test]
fn availability_waits_for_min_ready_seconds() {
    let pods = [pod("a", 1, Some(5)), pod("b", 1, Some(25)), pod("c", 1, None)];
    let plan = plan(
        &replica_set(json!({"replicas": 3, "minReadySeconds": 10}), json!({})),
        &pods,
        now(),
    );
    let counts = json!({
        "replicas": 3, "terminatingReplicas": 0, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 4,
    });
    assert_eq!(plan.status, Some(counts));
    assert_eq!(plan.again_after, Some(TimeDelta::seconds(5)));
}

#[test]
fn a_right_status_is_not_written_again() {
    let right = plan(
        &replica_set(json!({"replicas": 1}), json!({})),
        &[pod("a", 1, Some(1))],
        now(),
    )
    .status;
    let again = replica_set(json!({"replicas": 1}), right.unwrap());
    assert_eq!(plan(&again, &[pod("a", 1, Some(1))], now()).status, None);
}
