//! Create, update, patch, scale: versions, conflicts, generations.

use super::*;

#[test]
fn creation_sets_what_only_the_server_knows() {
    let mut desk = Desk::new();
    let forged = json!({"metadata": {"name": "a", "uid": "forged", "generation": 7}, "data": {"k": "v"}});
    let (code, created) = desk.post(MAPS, forged);
    assert_eq!(code, 201);
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_ne!(created["metadata"]["uid"], "forged");
    assert_eq!(
        created["metadata"]["resourceVersion"], "3",
        "after the two namespaces"
    );
    let (_, generated) = desk.post(MAPS, json!({"metadata": {"generateName": "a-"}}));
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    let (_, generated) = desk.post(MAPS, json!({"metadata": {"generateName": "a".repeat(60)}}));
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with(&"a".repeat(58)) && name.len() == 63, "{name}");
}

#[test]
fn creations_that_are_refused() {
    let mut desk = Desk::new();
    desk.post(MAPS, named("taken"));
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
    let table = [
        (MAPS, named("taken"), 409, "configmaps \"taken\" already exists"),
        (
            "/api/v1/namespaces/none/configmaps",
            named("a"),
            404,
            "namespaces \"none\" not found",
        ),
        (
            "/api/v1/widgets",
            named("a"),
            404,
            "the server could not find the requested resource",
        ),
        (
            MAPS,
            elsewhere,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            MAPS,
            json!({}),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            MAPS,
            json!({"metadata": {"name": "a", "resourceVersion": "1"}}),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            MAPS,
            json!({"kind": "Secret"}),
            400,
            "the kind in the data (\"Secret\") does not match the expected one (ConfigMap)",
        ),
        (MAPS, json!([]), 400, "the body must be a ConfigMap object"),
    ];
    for (path, body, code, expected) in table {
        let reply = desk.post(path, body);
        assert_eq!((reply.0, message(&reply)), (code, expected));
    }
}

#[test]
fn updates_and_conflicts() {
    let mut desk = Desk::new();
    let (_, created) = desk.post(SETS, replica_set("a"));
    let path = format!("{SETS}/a");
    let mut blind = replica_set("a");
    blind["spec"]["replicas"] = json!(2);
    assert_eq!(
        desk.put(&path, blind).0,
        200,
        "without a version the last writer wins"
    );
    let stale = desk.put(&path, created.clone());
    assert_eq!(stale.0, 409);
    assert_eq!(
        message(&stale),
        "Operation cannot be fulfilled on replicasets.apps \"a\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
    let mut other = replica_set("a");
    other["metadata"]["uid"] = json!("somebody-else");
    let reply = desk.put(&path, other);
    assert_eq!(
        (reply.0, message(&reply).contains("Precondition failed: UID")),
        (409, true)
    );
    assert_eq!(
        desk.put(&path, replica_set("b")).0,
        400,
        "another name than the path's"
    );
    assert_eq!(
        desk.put(&format!("{SETS}/missing"), replica_set("missing")).0,
        404
    );
}

#[test]
fn an_update_that_changes_nothing_commits_nothing() {
    let mut desk = Desk::new();
    let (_, created) = desk.post(SETS, replica_set("a"));
    let version = desk.store.version();
    let response = desk.send(
        "PUT",
        &format!("{SETS}/a"),
        "application/json",
        &created.to_string(),
    );
    assert_eq!((response.code, response.commits.len()), (200, 0));
    assert_eq!(desk.store.version(), version);
}

#[test]
fn custom_resources_must_name_the_version_they_replace() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(GATES, named("a"));
    let reply = desk.put(&format!("{GATES}/a"), named("a"));
    assert_eq!(reply.0, 422);
    assert!(
        message(&reply)
            .ends_with("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
}

#[test]
fn generation_counts_changes_of_the_wanted_state_only() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(
        GATES,
        json!({"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"x": 1}}),
    );
    let (path, status) = (format!("{GATES}/a"), format!("{GATES}/a/status"));
    let table = [
        (&path, json!({"spec": {"x": 1}}), 1),
        (&path, json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (&status, json!({"status": {"x": 2}}), 1),
        (&path, json!({"spec": {"x": 2}}), 2),
        (&path, json!({"status": {"x": 9}}), 2),
        (&status, json!({"spec": {"x": 9}}), 2),
        (&path, json!({"metadata": {"generation": 40}}), 2),
    ];
    for (path, patch, generation) in table {
        let (code, changed) = desk.merge(path, patch.clone());
        assert_eq!(
            (code, &changed["metadata"]["generation"]),
            (200, &json!(generation)),
            "{path} {patch}"
        );
    }
    let (_, last) = desk.get(&path);
    assert_eq!(
        (&last["spec"], &last["status"]),
        (&json!({"x": 2}), &json!({"x": 2}))
    );
}

#[test]
fn json_patches() {
    let mut desk = Desk::new();
    desk.post(
        MAPS,
        json!({"metadata": {"name": "a", "annotations": {"kept": "1"}}, "data": {"k": "v"}}),
    );
    let path = format!("{MAPS}/a");
    let test = |value: &str| json!({"op": "test", "path": "/data/k", "value": value});
    let set = |value: &str| json!({"op": "replace", "path": "/data/k", "value": value});
    let version = |value: &str| json!({"op": "replace", "path": "/metadata/resourceVersion", "value": value});
    let table = [
        (json!([test("other"), set("x")]), 422),
        (json!([{"op": "remove", "path": "/data/none"}]), 422),
        (json!([{"op": "jump"}]), 422),
        (json!({"op": "remove"}), 400),
        (json!([version("1"), set("x")]), 409),
        (json!([test("v"), version("3"), set("w")]), 200),
        (
            json!([{"op": "add", "path": "/metadata/annotations/a.b~1c", "value": "x"}]),
            200,
        ),
    ];
    for (patch, code) in table {
        let reply = desk.json_patch(&path, patch.clone());
        assert_eq!(reply.0, code, "{patch} {}", reply.1);
    }
    let (_, last) = desk.get(&path);
    assert_eq!(
        (&last["data"]["k"], &last["metadata"]["annotations"]),
        (&json!("w"), &json!({"kept": "1", "a.b/c": "x"}))
    );
}

#[test]
fn media_types_of_patches() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(GATES, named("a"));
    desk.post(MAPS, named("a"));
    let (gate, map) = (format!("{GATES}/a"), format!("{MAPS}/a"));
    let table = [
        (&map, "application/strategic-merge-patch+json", 200),
        (&gate, "application/strategic-merge-patch+json", 415),
        (&map, "application/apply-patch+yaml", 415),
        (&map, "application/json", 415),
        (&gate, "application/merge-patch+json; charset=utf-8", 200),
    ];
    for (path, content_type, code) in table {
        assert_eq!(
            desk.send("PATCH", path, content_type, "{}").code,
            code,
            "{path} {content_type}"
        );
    }
    let refused = desk.send(
        "PATCH",
        &format!("{MAPS}/none"),
        "application/apply-patch+yaml",
        "a: b",
    );
    assert_eq!(refused.code, 415);
    assert!(
        refused.body.to_value()["message"]
            .as_str()
            .unwrap()
            .contains("server-side apply is not served")
    );
}

#[test]
fn the_scale_of_a_custom_resource() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(GATES, json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}}));
    desk.merge(
        &format!("{GATES}/a/status"),
        json!({"status": {"count": 1, "selector": "app=a"}}),
    );
    let path = format!("{GATES}/a/scale");
    let (_, mut scale) = desk.get(&path);
    assert_eq!(
        (&scale["kind"], &scale["spec"]),
        (&json!("Scale"), &json!({"replicas": 2}))
    );
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=a"}));
    scale["spec"]["replicas"] = json!(5);
    assert_eq!(desk.put(&path, scale.clone()).0, 200);
    assert_eq!(
        desk.put(&path, scale).0,
        409,
        "the scale carries the object's version"
    );
    assert_eq!(desk.merge(&path, json!({"spec": {"replicas": -1}})).0, 422);
    let (_, gate) = desk.get(&format!("{GATES}/a"));
    assert_eq!(
        (&gate["spec"]["replicas"], &gate["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
    assert_eq!(desk.get(&format!("{MAPS}/a/scale")).0, 404);
}

#[test]
fn a_pod_is_bound_to_a_node_once() {
    let mut desk = Desk::new();
    desk.post(
        PODS,
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}),
    );
    let path = format!("{PODS}/a/binding");
    let to = |node: &str| json!({"target": {"kind": "Node", "name": node}});
    assert_eq!(desk.post(&path, json!({})).0, 422);
    assert_eq!(desk.post(&path, to("one")).0, 201);
    assert_eq!(desk.get(&format!("{PODS}/a")).1["spec"]["nodeName"], "one");
    assert_eq!(desk.post(&path, to("two")).0, 409);
    assert_eq!(desk.post(&format!("{MAPS}/a/binding"), to("one")).0, 404);
}

#[test]
fn an_evicted_pod_is_deleted() {
    let mut desk = Desk::new();
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
        desk.post(PODS, pod);
    }
    let evict = |name: &str, uid: &str| json!({"metadata": {"name": name}, "deleteOptions": {"preconditions": {"uid": uid}}});
    let path = format!("{PODS}/a/eviction");
    assert_eq!(desk.post(&path, evict("b", "")).0, 400);
    assert_eq!(desk.post(&path, evict("a", "another")).0, 409);
    let uid = desk.get(&format!("{PODS}/a")).1["metadata"]["uid"].clone();
    assert_eq!(desk.post(&path, evict("a", uid.as_str().unwrap())).0, 201);
    assert_eq!(desk.get(&format!("{PODS}/a")).0, 404);
    assert_eq!(desk.post(&path, evict("a", "")).0, 404);
    let path = format!("{PODS}/b/eviction?dryRun=All");
    assert_eq!(desk.post(&path, json!({"metadata": {"name": "b"}})).0, 201);
    assert_eq!(desk.get(&format!("{PODS}/b")).0, 200);
}

#[test]
fn a_dry_run_answers_and_changes_nothing() {
    let mut desk = Desk::new();
    let version = desk.store.version();
    assert_eq!(desk.post(&format!("{SETS}?dryRun=All"), replica_set("a")).0, 201);
    assert_eq!(
        desk.post(&format!("{SETS}?dryRun=All"), json!({"metadata": {"name": "a"}}))
            .0,
        422
    );
    assert_eq!(desk.get(&format!("{SETS}/a")).0, 404);
    desk.post(SETS, replica_set("a"));
    desk.merge(&format!("{SETS}/a?dryRun=All"), json!({"spec": {"replicas": 9}}));
    desk.delete(&format!("{SETS}/a?dryRun=All"), Value::Null);
    assert_eq!(desk.get(&format!("{SETS}/a")).1["spec"]["replicas"], 1);
    assert_eq!(desk.store.version(), version + 1);
}

#[test]
fn a_commit_says_who_and_on_what_ground() {
    let mut desk = Desk::new();
    desk.post(SETS, replica_set("a"));
    let path = format!("{SETS}/a?fieldManager=me");
    let body = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "3"},
        {"op": "replace", "path": "/spec/replicas", "value": 4}]);
    let response = desk.send("PATCH", &path, "application/json-patch+json", &body.to_string());
    let [commit] = response.commits.as_slice() else {
        panic!("one commit: {response:?}")
    };
    assert_eq!(
        (commit.actor.as_str(), commit.field_manager.as_deref()),
        ("test", Some("me"))
    );
    assert_eq!(
        (commit.kind.as_str(), commit.name.as_str(), commit.verb),
        ("ReplicaSet", "a", Verb::Patch)
    );
    assert!(commit.had_resource_version && !commit.had_uid);
    assert_eq!(commit.body.as_ref(), &body);
    let replicas = |object: &Option<Arc<Value>>| object.as_ref().unwrap()["spec"]["replicas"].clone();
    assert_eq!(
        (replicas(&commit.before), replicas(&commit.after)),
        (json!(1), json!(4))
    );
}

#[test]
fn the_same_seed_and_requests_give_the_same_bytes() {
    let run = || {
        let mut desk = Desk::with_gates(open_spec());
        desk.post(MAPS, json!({"metadata": {"generateName": "a-"}}));
        desk.post(GATES, named("a"));
        desk.send("GET", "/api/v1/configmaps", "", "").body.to_bytes()
    };
    assert_eq!(run(), run());
}
