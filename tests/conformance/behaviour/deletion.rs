//! Deletion of one object, of many, of pods and of namespaces.

use serde_json::{Value, json};

use crate::object::{config_map, labelled, pod, replica_set, rollout, service};
use crate::talk::{Answer, JSON, Talk};

/// What deletion has done to the metadata.
pub fn show_marks(talk: &mut Talk<'_>, answer: &Answer) {
    let metadata = &answer.body["metadata"];
    let deleting = metadata["deletionTimestamp"].is_string();
    let grace = &metadata["deletionGracePeriodSeconds"];
    let kind = &answer.body["kind"];
    let (finalizers, generation) = (&metadata["finalizers"], &metadata["generation"]);
    talk.note(format!(
        "  {kind} deleting {deleting}, grace {grace}, finalizers {finalizers}, generation {generation}"
    ));
}

fn held(mut object: Value) -> Value {
    object["metadata"]["finalizers"] = json!(["tidegate.dev/hold"]);
    object
}

pub async fn an_object(talk: &mut Talk<'_>) {
    for (plural, object) in [
        ("rollouts", rollout("a")),
        ("configmaps", config_map("a")),
        ("replicasets", replica_set("a", 0)),
        ("services", service("a")),
    ] {
        talk.given(plural, &object).await;
        let path = format!("{plural}/a");
        let answer = talk.delete(&path, &json!({})).await;
        talk.show(
            &answer,
            &[
                "/kind",
                "/status",
                "/details/name",
                "/details/group",
                "/details/kind",
            ],
        );
        talk.until_gone(&path).await;
    }
    talk.given("rollouts", &rollout("a")).await;
    talk.tell("DELETE", "rollouts/a", JSON, "").await;
}

pub async fn a_missing_object(talk: &mut Talk<'_>) {
    talk.delete("rollouts/none", &json!({})).await;
    talk.delete("pods/none", &json!({"gracePeriodSeconds": 0})).await;
}

pub async fn preconditions(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        let created = talk.given(plural, &object).await;
        let path = format!("{plural}/a");
        for wrong in [
            json!({"uid": "11111111-1111-1111-1111-111111111111"}),
            json!({"resourceVersion": "1"}),
        ] {
            talk.delete(&path, &json!({"preconditions": wrong})).await;
        }
        let right = json!({"uid": created.uid(), "resourceVersion": created.version()});
        talk.delete(&path, &json!({"preconditions": right})).await;
    }
}

pub async fn finalizers(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        talk.given(plural, &held(object)).await;
        let path = format!("{plural}/a");
        let answer = talk.delete(&path, &json!({})).await;
        show_marks(talk, &answer);
        let answer = talk.delete(&path, &json!({})).await;
        show_marks(talk, &answer);
        talk.merge(&path, &json!({"metadata": {"labels": {"a": "b"}}}))
            .await;
        let answer = talk.merge(&path, &json!({"metadata": {"finalizers": []}})).await;
        show_marks(talk, &answer);
        talk.get(&path).await;
        talk.create(plural, &config_map("a")).await;
    }
}

pub async fn no_new_finalizers(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        talk.given(plural, &held(object)).await;
        let path = format!("{plural}/a");
        talk.delete(&path, &json!({})).await;
        let more = json!({"metadata": {"finalizers": ["tidegate.dev/hold", "tidegate.dev/more"]}});
        talk.merge(&path, &more).await;
        let swapped = json!({"metadata": {"finalizers": ["tidegate.dev/more"]}});
        talk.merge(&path, &swapped).await;
        talk.merge(
            &path,
            &json!({"metadata": {"deletionTimestamp": null, "finalizers": null}}),
        )
        .await;
        talk.get(&path).await;
    }
}

pub async fn dry_run(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("rollouts", &held(rollout("b"))).await;
    talk.delete("rollouts/a?dryRun=All", &json!({})).await;
    talk.delete("rollouts/b?dryRun=All", &json!({})).await;
    talk.delete("rollouts/a", &json!({"dryRun": ["All"]})).await;
    for path in ["rollouts/a", "rollouts/b"] {
        let answer = talk.get(path).await;
        show_marks(talk, &answer);
    }
    talk.merge("rollouts/b", &json!({"metadata": {"finalizers": null}}))
        .await;
}

pub async fn a_collection(talk: &mut Talk<'_>) {
    for name in ["a", "b"] {
        talk.given("rollouts", &labelled(rollout(name), "tier", "web"))
            .await;
    }
    talk.given("rollouts", &rollout("c")).await;
    let answer = talk.delete("rollouts?labelSelector=tier=web", &json!({})).await;
    talk.show(&answer, &["/kind", "/apiVersion"]);
    let left = talk.get("rollouts").await;
    for item in left.items() {
        talk.note(format!("  {}", item["metadata"]["name"]));
    }
    let answer = talk.delete("rollouts?labelSelector=tier=none", &json!({})).await;
    talk.show(&answer, &["/kind"]);
}

pub async fn a_pod_without_node(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    let answer = talk.delete("pods/a", &json!({})).await;
    show_marks(talk, &answer);
    talk.get("pods/a").await;
}

pub async fn a_pod_on_a_node(talk: &mut Talk<'_>) {
    for (name, grace) in [("a", None), ("b", Some(7))] {
        let mut object = pod(name);
        if let Some(grace) = grace {
            object["spec"]["terminationGracePeriodSeconds"] = json!(grace);
        }
        talk.given("pods", &object).await;
        talk.bind(name).await;
        let path = format!("pods/{name}");
        let answer = talk.delete(&path, &json!({})).await;
        show_marks(talk, &answer);
        let answer = talk.get(&path).await;
        show_marks(talk, &answer);
        let uid = answer.uid().to_owned();
        talk.delete(
            &path,
            &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}}),
        )
        .await;
        let answer = talk
            .delete(
                &path,
                &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}),
            )
            .await;
        show_marks(talk, &answer);
        talk.get(&path).await;
    }
    talk.given("pods", &pod("c")).await;
    talk.bind("c").await;
    talk.run_pod("c", "10.77.9.9", true).await;
    talk.merge("pods/c/status", &json!({"status": {"phase": "Succeeded"}}))
        .await;
    talk.delete("pods/c", &json!({})).await;
    talk.get("pods/c").await;
}

pub async fn less_grace(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    talk.bind("a").await;
    for grace in [20, 25, 5] {
        let answer = talk.delete("pods/a", &json!({"gracePeriodSeconds": grace})).await;
        show_marks(talk, &answer);
    }
    let answer = talk.delete("pods/a", &json!({"gracePeriodSeconds": -1})).await;
    show_marks(talk, &answer);
    talk.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await;
}

pub async fn a_namespace(talk: &mut Talk<'_>) {
    let name = format!("{}-2", talk.namespace);
    let path = format!("/api/v1/namespaces/{name}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let created = talk.create("/api/v1/namespaces", &namespace).await;
    talk.show(&created, &["/status", "/spec", "/metadata/labels"]);
    talk.namespace = name;
    talk.given("rollouts", &rollout("a")).await;
    talk.given("configmaps", &held(config_map("a"))).await;
    let answer = talk.delete(&path, &json!({})).await;
    talk.show(&answer, &["/kind", "/status/phase", "/spec"]);
    talk.until_gone("rollouts/a").await;
    let answer = talk.get(&path).await;
    talk.show(&answer, &["/status/phase"]);
    let refused = talk.create("configmaps", &config_map("b")).await;
    talk.show(&refused, &["/details/causes/0/reason"]);
    talk.merge("configmaps/a", &json!({"metadata": {"finalizers": null}}))
        .await;
    talk.until_gone("configmaps/a").await;
    talk.until_gone(&path).await;
}
