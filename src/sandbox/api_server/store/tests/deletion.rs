//! Deletion: finalizers, grace, preconditions, collections, namespaces.

use super::*;

#[test]
fn an_object_without_finalizers_goes_at_once() {
    let mut desk = Desk::new();
    desk.post(MAPS, named("a"));
    let (code, status) = desk.delete(&format!("{MAPS}/a"), Value::Null);
    assert_eq!(
        (code, &status["status"], &status["details"]["name"]),
        (200, &json!("Success"), &json!("a"))
    );
    assert_eq!(desk.get(&format!("{MAPS}/a")).0, 404);
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(
        GATES,
        json!({"metadata": {"name": "a", "finalizers": ["x/one", "x/two"]}}),
    );
    let path = format!("{GATES}/a");
    let (_, marked) = desk.delete(&path, Value::Null);
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(marked["metadata"]["generation"], 2);
    let version = desk.store.version();
    desk.delete(&path, Value::Null);
    assert_eq!(desk.store.version(), version, "deleting it again changes nothing");
    let reply = desk.merge(&path, json!({"metadata": {"finalizers": ["x/one", "x/three"]}}));
    assert_eq!(
        (
            reply.0,
            message(&reply).contains("no new finalizers can be added")
        ),
        (422, true)
    );
    assert_eq!(
        desk.merge(&path, json!({"metadata": {"deletionTimestamp": null}}))
            .0,
        200
    );
    assert!(
        desk.get(&path).1["metadata"]["deletionTimestamp"].is_string(),
        "nobody can undo a deletion"
    );
    assert_eq!(
        desk.merge(&path, json!({"metadata": {"finalizers": ["x/one"]}}))
            .0,
        200
    );
    assert_eq!(desk.merge(&path, json!({"metadata": {"finalizers": []}})).0, 200);
    assert_eq!(desk.get(&path).0, 404);
}

#[test]
fn propagation_policies_leave_work_for_the_garbage_collector() {
    let table = [
        (
            json!({"propagationPolicy": "Foreground"}),
            Some("foregroundDeletion"),
        ),
        (json!({"propagationPolicy": "Orphan"}), Some("orphan")),
        (json!({"propagationPolicy": "Background"}), None),
        (Value::Null, None),
    ];
    for (options, finalizer) in table {
        let mut desk = Desk::new();
        desk.post(SETS, replica_set("a"));
        desk.delete(&format!("{SETS}/a"), options.clone());
        let left = desk.store.get("ReplicaSet", "default", "a");
        let held = left.map(|object| object["metadata"]["finalizers"].clone());
        assert_eq!(held, finalizer.map(|finalizer| json!([finalizer])), "{options}");
    }
}

#[test]
fn a_running_pod_stays_for_its_grace() {
    let mut desk = Desk::new();
    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "a", "image": "a"}]}})
    };
    desk.post(PODS, pod("runs", "node"));
    desk.post(PODS, pod("waits", ""));
    desk.delete(&format!("{PODS}/waits"), Value::Null);
    assert_eq!(
        desk.get(&format!("{PODS}/waits")).0,
        404,
        "no node has to stop it"
    );
    let (_, marked) = desk.delete(&format!("{PODS}/runs"), Value::Null);
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 5);
    desk.merge(
        &format!("{PODS}/runs/status"),
        json!({"status": {"phase": "Running"}}),
    );
    assert_eq!(desk.get(&format!("{PODS}/runs")).0, 200);
    desk.delete(&format!("{PODS}/runs"), json!({"gracePeriodSeconds": 0}));
    assert_eq!(desk.get(&format!("{PODS}/runs")).0, 404);
}

#[test]
fn preconditions_of_a_deletion() {
    let mut desk = Desk::new();
    let (_, created) = desk.post(MAPS, named("a"));
    let path = format!("{MAPS}/a");
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let table = [
        (json!({"uid": "other"}), 409),
        (json!({"uid": uid, "resourceVersion": "1"}), 409),
        (json!({"uid": uid, "resourceVersion": "3"}), 200),
    ];
    for (preconditions, code) in table {
        let reply = desk.delete(&path, json!({"preconditions": preconditions}));
        assert_eq!(reply.0, code, "{preconditions}");
    }
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let mut desk = Desk::new();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        desk.post(MAPS, json!({"metadata": {"name": name, "labels": {"app": app}}}));
    }
    let (code, gone) = desk.delete(&format!("{MAPS}?labelSelector=app%3Dx"), Value::Null);
    assert_eq!((code, gone["items"].as_array().unwrap().len()), (200, 2));
    let left = desk.store.list("ConfigMap");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["metadata"]["name"], "b");
}

#[test]
fn a_namespace_takes_its_objects_along() {
    let mut desk = Desk::new();
    desk.post("/api/v1/namespaces", named("shop"));
    desk.post("/api/v1/namespaces/shop/configmaps", named("a"));
    desk.post(MAPS, named("a"));
    desk.delete("/api/v1/namespaces/shop", Value::Null);
    assert_eq!(desk.store.list("ConfigMap").len(), 1);
    assert_eq!(desk.post("/api/v1/namespaces/shop/configmaps", named("b")).0, 404);
}

#[test]
fn a_definition_takes_its_resource_along() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(GATES, named("a"));
    desk.delete(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gates.example.dev",
        Value::Null,
    );
    assert_eq!(desk.get(GATES).0, 404);
    desk.store.install_crd(start(), definition(open_spec())).unwrap();
    assert_eq!(desk.get(&format!("{GATES}/a")).0, 404);
}
