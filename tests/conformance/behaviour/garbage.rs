//! The garbage collector: what becomes of objects whose owners go.

use serde_json::{Value, json};

use super::deletion::show_marks;
use crate::object::{config_map, owner, replica_set, rollout};
use crate::talk::{JSON, Talk};

const STRANGER: &str = "11111111-1111-1111-1111-111111111111";

fn owned(mut object: Value, references: Value) -> Value {
    object["metadata"]["ownerReferences"] = references;
    object
}

/// A Rollout that owns a ReplicaSet that owns a pod.
async fn family(talk: &mut Talk<'_>) {
    let parent = talk.given("rollouts", &rollout("a")).await;
    let reference = owner("tidegate.dev/v1alpha1", "Rollout", "a", parent.uid());
    talk.given("replicasets", &owned(replica_set("a", 1), reference))
        .await;
    talk.until("there is a pod", "pods", |answer| answer.items().len() == 1)
        .await;
}

async fn policy(talk: &mut Talk<'_>, path: &str, policy: &str) {
    let answer = talk.delete(path, &json!({"propagationPolicy": policy})).await;
    show_marks(talk, &answer);
}

pub async fn background(talk: &mut Talk<'_>) {
    family(talk).await;
    policy(talk, "rollouts/a", "Background").await;
    talk.get("rollouts/a").await;
    talk.until_gone("replicasets/a").await;
    talk.until("there is no pod", "pods", |answer| answer.items().is_empty())
        .await;
}

pub async fn an_owner_in_background_by_default(talk: &mut Talk<'_>) {
    family(talk).await;
    let answer = talk.delete("rollouts/a", &json!({})).await;
    show_marks(talk, &answer);
    talk.until_gone("replicasets/a").await;
    talk.until("there is no pod", "pods", |answer| answer.items().is_empty())
        .await;
}

pub async fn foreground(talk: &mut Talk<'_>) {
    family(talk).await;
    // A dependent that does not go keeps its owner.
    let hold = json!({"metadata": {"finalizers": ["tidegate.dev/hold"]}});
    talk.merge("replicasets/a", &hold).await;
    policy(talk, "rollouts/a", "Foreground").await;
    let marked = |answer: &crate::talk::Answer| answer.body["metadata"]["deletionTimestamp"].is_string();
    talk.until("the dependent is being deleted", "replicasets/a", marked)
        .await;
    talk.until("there is no pod", "pods", |answer| answer.items().is_empty())
        .await;
    talk.pause().await;
    let answer = talk.get("rollouts/a").await;
    show_marks(talk, &answer);
    talk.merge("replicasets/a", &json!({"metadata": {"finalizers": null}}))
        .await;
    talk.until_gone("replicasets/a").await;
    talk.until_gone("rollouts/a").await;
}

pub async fn orphans(talk: &mut Talk<'_>) {
    talk.given("replicasets", &replica_set("a", 1)).await;
    talk.until("there is a pod", "pods", |answer| answer.items().len() == 1)
        .await;
    policy(talk, "replicasets/a", "Orphan").await;
    talk.until_gone("replicasets/a").await;
    let pods = talk.get("pods").await;
    talk.show(
        &pods,
        &[
            "/items/0/metadata/ownerReferences",
            "/items/0/metadata/deletionTimestamp",
        ],
    );
}

/// The references are gone before the owner is, so that nobody collects what it has left.
pub async fn orphans_of_a_rollout(talk: &mut Talk<'_>) {
    family(talk).await;
    let begin = talk.ask("GET", "rollouts", JSON, "").await.version().to_owned();
    policy(talk, "rollouts/a", "Orphan").await;
    talk.until_gone("rollouts/a").await;
    let replica_set = talk.get("replicasets/a").await;
    talk.show(
        &replica_set,
        &["/metadata/ownerReferences", "/metadata/deletionTimestamp"],
    );
    let version = |event: &Value| {
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
        version.parse::<u64>().unwrap()
    };
    let released = talk.watch(&format!("replicasets?resourceVersion={begin}")).await;
    let is_released = |event: &&Value| event["object"]["metadata"]["ownerReferences"].is_null();
    let released = released.iter().find(is_released).map(version);
    let gone = talk.watch(&format!("rollouts?resourceVersion={begin}")).await;
    let gone = gone.iter().find(|event| event["type"] == "DELETED").map(version);
    talk.note(format!(
        "  released before the owner is gone: {}",
        released.is_some() && released < gone
    ));
    talk.pause().await;
    let pods = talk.get("pods").await;
    talk.note(format!("  {} pods", pods.items().len()));
    talk.show(&pods, &["/items/0/metadata/ownerReferences/0/kind"]);
}

pub async fn a_wrong_uid(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let reference = owner("tidegate.dev/v1alpha1", "Rollout", "a", STRANGER);
    talk.given("replicasets", &owned(replica_set("a", 0), reference))
        .await;
    talk.until_gone("replicasets/a").await;
}

pub async fn a_config_map(talk: &mut Talk<'_>) {
    let reference = owner("tidegate.dev/v1alpha1", "Rollout", "a", STRANGER);
    talk.given("configmaps", &owned(config_map("a"), reference)).await;
    talk.pause().await;
    talk.get("configmaps/a").await;
}

pub async fn a_missing_owner(talk: &mut Talk<'_>) {
    let reference = owner("apps/v1", "ReplicaSet", "none", STRANGER);
    talk.given("rollouts", &owned(rollout("a"), reference)).await;
    talk.until_gone("rollouts/a").await;
    let reference = owner("nothing.dev/v1", "Nothing", "none", STRANGER);
    talk.given("rollouts", &owned(rollout("b"), reference)).await;
    talk.pause().await;
    talk.get("rollouts/b").await;
}

pub async fn one_of_two_owners(talk: &mut Talk<'_>) {
    let mut references = Vec::new();
    for name in ["a", "b"] {
        let uid = talk.given("rollouts", &rollout(name)).await.uid().to_owned();
        references.push(
            json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": name, "uid": uid}),
        );
    }
    talk.given("replicasets", &owned(replica_set("c", 0), json!(references)))
        .await;
    talk.delete("rollouts/a", &json!({"propagationPolicy": "Background"}))
        .await;
    let one = |answer: &crate::talk::Answer| {
        answer.body["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|owners| owners.len() == 1)
    };
    let left = talk.until("one owner is left", "replicasets/c", one).await;
    talk.show(&left, &["/metadata/ownerReferences/0/name"]);
    talk.delete("rollouts/b", &json!({"propagationPolicy": "Background"}))
        .await;
    talk.until_gone("replicasets/c").await;
}

pub async fn a_whole_rollout(talk: &mut Talk<'_>) {
    let uid = talk.given("rollouts", &rollout("a")).await.uid().to_owned();
    let reference = || owner("tidegate.dev/v1alpha1", "Rollout", "a", &uid);
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"},
        "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}},
    });
    let run = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "a"},
        "spec": {"rollout": "a", "metrics": []},
    });
    let mut made = Vec::new();
    for (plural, object) in [
        ("replicasets", replica_set("a", 1)),
        ("ingresses", ingress),
        ("analysisruns", run),
    ] {
        let answer = talk.create(plural, &owned(object, reference())).await;
        if answer.code == 201 {
            made.push(format!("{plural}/a"));
        }
    }
    talk.delete("rollouts/a", &json!({"propagationPolicy": "Background"}))
        .await;
    for path in made {
        talk.until_gone(&path).await;
    }
}
