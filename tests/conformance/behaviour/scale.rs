//! The scale subresource, which autoscalers and `kubectl scale` write.

use serde_json::{Value, json};

use crate::object::{replica_set, rollout};
use crate::talk::{JSON_PATCH, Talk};

const SHAPE: [&str; 6] = [
    "/kind",
    "/apiVersion",
    "/metadata/name",
    "/metadata/namespace",
    "/spec",
    "/status",
];

pub async fn of_a_rollout(talk: &mut Talk<'_>) {
    let object = talk.given("rollouts", &rollout("a")).await;
    let scale = talk.get("rollouts/a/scale").await;
    talk.show(&scale, &SHAPE);
    let same = scale.uid() == object.uid() && scale.version() == object.version();
    talk.note(format!("  uid and version of the object: {same}"));
    let status = json!({"status": {"replicas": 4, "selector": "app=web"}});
    talk.merge("rollouts/a/status", &status).await;
    let scale = talk.get("rollouts/a/scale").await;
    talk.show(&scale, &["/status"]);
    let mut unset = rollout("b");
    unset["spec"].as_object_mut().unwrap().remove("replicas");
    talk.create("rollouts", &unset).await;
    let scale = talk.get("rollouts/b/scale").await;
    talk.show(&scale, &["/spec", "/status"]);
}

pub async fn of_a_replica_set(talk: &mut Talk<'_>) {
    talk.given("replicasets", &replica_set("a", 0)).await;
    let scale = talk.get("replicasets/a/scale").await;
    talk.show(&scale, &SHAPE);
    let mut expressed = replica_set("b", 0);
    expressed["spec"]["selector"]["matchExpressions"] = json!([{"key": "app", "operator": "Exists"}]);
    talk.create("replicasets", &expressed).await;
    let scale = talk.get("replicasets/b/scale").await;
    talk.show(&scale, &["/status/selector"]);
}

async fn read(talk: &Talk<'_>, path: &str) -> Value {
    talk.ask("GET", path, crate::talk::JSON, "").await.body
}

pub async fn written(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("replicasets", &replica_set("a", 0)).await;
    // Its controller writes it once more.
    let seen = |answer: &crate::talk::Answer| answer.body["status"]["observedGeneration"] == 1;
    talk.until("the ReplicaSet is seen", "replicasets/a", seen).await;
    for path in ["rollouts/a", "replicasets/a"] {
        let mut scale = read(talk, &format!("{path}/scale")).await;
        scale["spec"]["replicas"] = json!(1);
        let answer = talk.replace(&format!("{path}/scale"), &scale).await;
        talk.show(&answer, &["/kind", "/spec"]);
        let object = talk.get(path).await;
        talk.show(&object, &["/spec/replicas", "/metadata/generation"]);
        // Without a version it is written whatever happened meanwhile.
        let bare = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "a", "namespace": talk.namespace}, "spec": {"replicas": 0},
        });
        talk.replace(&format!("{path}/scale"), &bare).await;
        let object = talk.get(path).await;
        talk.show(&object, &["/spec/replicas", "/metadata/generation"]);
    }
}

pub async fn stale(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("replicasets", &replica_set("a", 0)).await;
    for path in ["rollouts/a", "replicasets/a"] {
        let mut scale = read(talk, &format!("{path}/scale")).await;
        talk.merge(path, &json!({"metadata": {"labels": {"tier": "web"}}}))
            .await;
        scale["spec"]["replicas"] = json!(1);
        talk.replace(&format!("{path}/scale"), &scale).await;
        let patch = json!({"metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]}, "spec": {"replicas": 1}});
        talk.merge(&format!("{path}/scale"), &patch).await;
    }
}

pub async fn patched(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("replicasets", &replica_set("a", 0)).await;
    for path in ["rollouts/a", "replicasets/a"] {
        let answer = talk
            .merge(&format!("{path}/scale"), &json!({"spec": {"replicas": 1}}))
            .await;
        talk.show(&answer, &["/kind", "/spec"]);
        let patch = json!([
            {"op": "test", "path": "/spec/replicas", "value": 1},
            {"op": "replace", "path": "/spec/replicas", "value": 0},
        ]);
        let answer = talk.patch(&format!("{path}/scale"), JSON_PATCH, &patch).await;
        talk.show(&answer, &["/spec"]);
        talk.patch(&format!("{path}/scale"), JSON_PATCH, &patch).await;
        talk.merge(
            &format!("{path}/scale?dryRun=All"),
            &json!({"spec": {"replicas": 9}}),
        )
        .await;
        let object = talk.get(path).await;
        talk.show(&object, &["/spec/replicas", "/metadata/generation"]);
    }
}

pub async fn invalid(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("replicasets", &replica_set("a", 0)).await;
    for path in ["rollouts/a/scale", "replicasets/a/scale"] {
        talk.merge(path, &json!({"spec": {"replicas": -1}})).await;
        talk.merge(path, &json!({"spec": {"replicas": "two"}})).await;
        talk.merge(path, &json!({"metadata": {"name": "other"}})).await;
    }
    // More than the schema of a Rollout allows.
    talk.merge("rollouts/a/scale", &json!({"spec": {"replicas": 200000}}))
        .await;
}

pub async fn of_a_missing_object(talk: &mut Talk<'_>) {
    talk.given("configmaps", &crate::object::config_map("a")).await;
    talk.merge("rollouts/none/scale", &json!({"spec": {"replicas": 1}}))
        .await;
    talk.merge("replicasets/none/scale", &json!({"spec": {"replicas": 1}}))
        .await;
    talk.get("configmaps/a/scale").await;
}
