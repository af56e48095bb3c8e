//! Patches.

use serde_json::json;

use crate::object::{config_map, replica_set, rollout};
use crate::talk::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Talk};

pub async fn json_patch_operations(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let answer = talk
        .patch(
            "rollouts/a",
            JSON_PATCH,
            &json!([
                {"op": "test", "path": "/spec/replicas", "value": 2},
                {"op": "replace", "path": "/spec/replicas", "value": 3},
                {"op": "add", "path": "/metadata/labels", "value": {"tier": "web"}},
                {"op": "add", "path": "/spec/strategy/canary/steps/0", "value": {"setWeight": 10}},
                {"op": "add", "path": "/spec/strategy/canary/steps/-", "value": {"setWeight": 90}},
                {"op": "copy", "from": "/metadata/labels/tier", "path": "/metadata/labels/copied"},
                {"op": "move", "from": "/metadata/labels/tier", "path": "/metadata/labels/moved"},
                {"op": "remove", "path": "/spec/template/metadata/annotations"},
            ]),
        )
        .await;
    talk.show(
        &answer,
        &[
            "/spec/replicas",
            "/metadata/labels",
            "/spec/strategy/canary/steps",
            "/spec/template/metadata",
        ],
    );
}

pub async fn a_failing_test(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("configmaps", &config_map("a")).await;
    for (path, pointer) in [
        ("rollouts/a", "/spec/replicas"),
        ("rollouts/a", "/spec/paused"),
        ("rollouts/a", "/spec/nothing/deeper"),
        ("configmaps/a", "/data/a"),
    ] {
        let patch = json!([
            {"op": "test", "path": pointer, "value": 7},
            {"op": "add", "path": "/metadata/labels", "value": {"written": "yes"}},
        ]);
        talk.patch(path, JSON_PATCH, &patch).await;
    }
    // What clients send to say "not yet there".
    talk.patch(
        "rollouts/a",
        JSON_PATCH,
        &json!([{"op": "test", "path": "/spec/paused", "value": null}]),
    )
    .await;
    let after = talk.get("rollouts/a").await;
    talk.show(&after, &["/metadata/labels"]);
}

pub async fn a_missing_path(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    for operation in [
        json!({"op": "replace", "path": "/spec/paused", "value": true}),
        json!({"op": "remove", "path": "/spec/paused"}),
        json!({"op": "remove", "path": "/metadata/annotations/none"}),
        json!({"op": "add", "path": "/metadata/annotations/new", "value": "1"}),
        json!({"op": "add", "path": "/spec/strategy/canary/steps/9", "value": {"setWeight": 1}}),
        json!({"op": "copy", "from": "/spec/none", "path": "/spec/paused"}),
    ] {
        talk.note(operation.to_string());
        talk.patch("rollouts/a", JSON_PATCH, &json!([operation])).await;
    }
}

pub async fn a_test_of_the_version(talk: &mut Talk<'_>) {
    let old = talk.given("rollouts", &rollout("a")).await.version().to_owned();
    let change = json!({"op": "replace", "path": "/spec/replicas", "value": 3});
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": old});
    let answer = talk.patch("rollouts/a", JSON_PATCH, &json!([test, change])).await;
    talk.show(&answer, &["/spec/replicas"]);
    let again = json!({"op": "replace", "path": "/spec/replicas", "value": 4});
    talk.patch("rollouts/a", JSON_PATCH, &json!([test, again])).await;
    talk.patch("rollouts/a/status", JSON_PATCH, &json!([test])).await;
}

pub async fn a_replaced_version(talk: &mut Talk<'_>) {
    let old = talk.given("rollouts", &rollout("a")).await.version().to_owned();
    talk.merge("rollouts/a", &json!({"spec": {"replicas": 3}})).await;
    for operation in ["replace", "add"] {
        let version = json!({"op": operation, "path": "/metadata/resourceVersion", "value": old});
        let change = json!({"op": "replace", "path": "/spec/replicas", "value": 4});
        talk.patch("rollouts/a", JSON_PATCH, &json!([version, change]))
            .await;
    }
    let version = json!({"op": "remove", "path": "/metadata/resourceVersion"});
    talk.patch("rollouts/a", JSON_PATCH, &json!([version])).await;
}

pub async fn merge_patches(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let patch = json!({
        "metadata": {"annotations": {"one": "1", "two": "2"}},
        "spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}]}}, "paused": true},
    });
    talk.merge("rollouts/a", &patch).await;
    let patch = json!({
        "metadata": {"annotations": {"one": null, "none": null}},
        "spec": {"paused": null, "template": {"metadata": {"annotations": {"note": null}}}},
    });
    let answer = talk.merge("rollouts/a", &patch).await;
    talk.show(
        &answer,
        &[
            "/metadata/annotations",
            "/spec/paused",
            "/spec/strategy/canary/steps",
            "/spec/template/metadata",
        ],
    );
    talk.given("configmaps", &config_map("a")).await;
    let answer = talk
        .merge("configmaps/a", &json!({"data": {"a": null, "b": "2"}}))
        .await;
    talk.show(&answer, &["/data"]);
}

pub async fn merge_patch_versions(talk: &mut Talk<'_>) {
    let old = talk.given("rollouts", &rollout("a")).await.version().to_owned();
    let patch = |replicas: u32| json!({"metadata": {"resourceVersion": old}, "spec": {"replicas": replicas}});
    talk.merge("rollouts/a", &patch(3)).await;
    let answer = talk.merge("rollouts/a", &patch(4)).await;
    talk.show(&answer, &["/message"]);
    talk.merge(
        "rollouts/a/status",
        &json!({"metadata": {"resourceVersion": old}, "status": {}}),
    )
    .await;
    talk.merge(
        "rollouts/a",
        &json!({"metadata": {"resourceVersion": null}, "spec": {"replicas": 5}}),
    )
    .await;
}

pub async fn strategic_merge_patches(talk: &mut Talk<'_>) {
    talk.given("replicasets", &replica_set("a", 0)).await;
    let container =
        |container: serde_json::Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    for patch in [
        container(json!({"name": "app", "image": "registry.example/web:v2"})),
        container(json!({"name": "more", "image": "registry.example/more:v1"})),
        container(json!({"name": "app", "env": [{"name": "A", "value": "1"}]})),
        container(json!({"name": "app", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]})),
        container(json!({"name": "more", "$patch": "delete"})),
        json!({"metadata": {"labels": {"$patch": "replace", "tier": "web"}}}),
        json!({"metadata": {"finalizers": ["example.dev/one", "example.dev/two"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.dev/one"]}}),
    ] {
        talk.patch("replicasets/a", STRATEGIC_PATCH, &patch).await;
    }
    let answer = talk.get("replicasets/a").await;
    let containers = answer.body["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    for container in containers {
        talk.note(format!(
            "  {} {} {}",
            container["name"], container["image"], container["env"]
        ));
    }
    talk.show(&answer, &["/metadata/labels", "/metadata/finalizers"]);
    talk.merge("replicasets/a", &json!({"metadata": {"finalizers": null}}))
        .await;
}

pub async fn unserved_forms(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.patch("rollouts/a", STRATEGIC_PATCH, &json!({"spec": {"replicas": 3}}))
        .await;
    talk.patch(
        "rollouts/a",
        "application/json",
        &json!({"spec": {"replicas": 3}}),
    )
    .await;
    talk.patch("rollouts/a", "text/plain", &json!({"spec": {"replicas": 3}}))
        .await;
}

pub async fn a_missing_object(talk: &mut Talk<'_>) {
    talk.merge("rollouts/none", &json!({"spec": {"replicas": 3}}))
        .await;
    talk.merge("rollouts/none/status", &json!({"status": {}})).await;
    talk.merge("replicasets/none", &json!({"spec": {"replicas": 3}}))
        .await;
    talk.patch("rollouts/none", JSON_PATCH, &json!([])).await;
}

pub async fn malformed_patches(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.patch("rollouts/a", JSON_PATCH, &json!({"op": "add"})).await;
    talk.patch(
        "rollouts/a",
        JSON_PATCH,
        &json!([{"op": "nonsense", "path": "/spec/replicas"}]),
    )
    .await;
    talk.patch("rollouts/a", JSON_PATCH, &json!([{"op": "add"}]))
        .await;
    talk.patch("rollouts/a", JSON_PATCH, &json!([])).await;
    talk.patch("rollouts/a", MERGE_PATCH, &json!(["a"])).await;
    talk.patch("rollouts/a", MERGE_PATCH, &json!("a")).await;
    talk.patch("rollouts/a", MERGE_PATCH, &json!({"spec": null}))
        .await;
    talk.tell("PATCH", "rollouts/a", MERGE_PATCH, "{\"spec\": ").await;
    talk.tell("PATCH", "rollouts/a", JSON_PATCH, "[").await;
}

pub async fn a_patch_that_changes_nothing(talk: &mut Talk<'_>) {
    let before = talk.given("rollouts", &rollout("a")).await;
    let merged = talk.merge("rollouts/a", &json!({"spec": {"replicas": 2}})).await;
    talk.note(format!(
        "  version kept: {}",
        merged.version() == before.version()
    ));
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]);
    let patched = talk.patch("rollouts/a", JSON_PATCH, &patch).await;
    talk.note(format!(
        "  version kept: {}",
        patched.version() == before.version()
    ));
}

pub async fn a_patched_identity(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    for patch in [
        json!({"metadata": {"name": "b"}}),
        json!({"metadata": {"namespace": "default"}}),
        json!({"kind": "Other"}),
        json!({"apiVersion": "other.dev/v1"}),
        json!({"metadata": {"uid": "other"}}),
        json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
        json!({"metadata": {"generation": 7}}),
        json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}),
    ] {
        talk.note(patch.to_string());
        let answer = talk.merge("rollouts/a", &patch).await;
        talk.show(&answer, &["/metadata/generation", "/metadata/deletionTimestamp"]);
        let kept = !answer.text("/metadata/creationTimestamp").starts_with("2020");
        talk.note(format!("  creation time kept: {kept}"));
    }
}

pub async fn a_wrong_uid(talk: &mut Talk<'_>) {
    let uid = talk.given("rollouts", &rollout("a")).await.uid().to_owned();
    let patch = |uid: &str| json!({"metadata": {"uid": uid}, "spec": {"replicas": 3}});
    talk.merge("rollouts/a", &patch(&uid)).await;
    talk.merge("rollouts/a", &patch("11111111-1111-1111-1111-111111111111"))
        .await;
    let test = json!([{"op": "test", "path": "/metadata/uid", "value": "other"}]);
    talk.patch("rollouts/a", JSON_PATCH, &test).await;
}

pub async fn escaped_names(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let patch = json!([
        {"op": "add", "path": "/metadata/annotations", "value": {"tidegate.dev/a": "1"}},
        {"op": "replace", "path": "/metadata/annotations/tidegate.dev~1a", "value": "2"},
        {"op": "add", "path": "/metadata/annotations/tidegate.dev~1b", "value": "3"},
    ]);
    let answer = talk.patch("rollouts/a", JSON_PATCH, &patch).await;
    talk.show(&answer, &["/metadata/annotations"]);
}
