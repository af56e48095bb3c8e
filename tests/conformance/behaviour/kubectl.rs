//! A real kubectl, and the plugin by way of it: what a user types, and what is printed.

use serde_json::{Value, json};

use crate::object::{config_map, replica_set, rollout, service};
use crate::talk::{JSON, Talk};

pub async fn get(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.merge(
        "rollouts/a/status",
        &json!({"status": {"phase": "Paused", "readyReplicas": 2}}),
    )
    .await;
    for words in [
        "get rollouts",
        "get rol",
        "get rollout a -o wide",
        "get rollout/a -o name",
        "get delivery",
        "get rollouts -o yaml",
        "get rollout a -o json",
        "get rollout a -o jsonpath={.spec.replicas}",
        "get rollouts --no-headers -o custom-columns=N:.metadata.name,R:.spec.replicas",
        "get rollouts --show-labels",
        "get rollouts -l app=none",
        "get rollout none",
        "get nothings",
    ] {
        talk.kubectl(words, "").await;
    }
}

pub async fn get_built_in_kinds(talk: &mut Talk<'_>) {
    talk.given("replicasets", &replica_set("a", 0)).await;
    talk.given("services", &service("a")).await;
    talk.given("configmaps", &config_map("a")).await;
    for words in [
        "get replicasets",
        "get configmap a",
        "get services",
        "get rs,svc -o name",
        "get all -o name",
    ] {
        talk.kubectl(words, "").await;
    }
}

pub async fn describe(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.kubectl("describe rollout a", "").await;
}

pub async fn apply(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    let text = object.to_string();
    talk.kubectl("apply -f -", &text).await;
    talk.kubectl("apply -f -", &text).await;
    object["spec"]["replicas"] = json!(3);
    object["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 20}]);
    let text = object.to_string();
    talk.kubectl("diff -f -", &text).await;
    talk.kubectl("apply --dry-run=server -f -", &text).await;
    talk.kubectl("apply -f -", &text).await;
    talk.kubectl(
        "get rollout a -o jsonpath={.spec.replicas}{.spec.strategy.canary.steps}{.metadata.generation}",
        "",
    )
    .await;
    talk.kubectl("create -f -", &text).await;
    talk.kubectl("replace -f -", &text).await;
}

pub async fn apply_what_is_refused(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    talk.kubectl("apply -f -", &object.to_string()).await;
    object["spec"]["nonsense"] = json!(1);
    talk.kubectl("apply --validate=warn -f -", &object.to_string())
        .await;
    talk.kubectl("apply -f -", &object.to_string()).await;
    object["spec"].as_object_mut().unwrap().remove("nonsense");
    object["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 101}]);
    talk.kubectl("apply -f -", &object.to_string()).await;
}

pub async fn apply_built_in_kinds(talk: &mut Talk<'_>) {
    for mut object in [replica_set("a", 0), service("a"), config_map("a")] {
        talk.kubectl("apply -f -", &object.to_string()).await;
        talk.kubectl("apply -f -", &object.to_string()).await;
        object["metadata"]["labels"] = json!({"tier": "web"});
        talk.kubectl("apply -f -", &object.to_string()).await;
    }
}

pub async fn patch(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let merge = r#"{"spec":{"replicas":3}}"#;
    let test = r#"[{"op":"test","path":"/spec/replicas","value":9}]"#;
    for words in [
        format!("patch rollout a --type=merge -p {merge}"),
        format!("patch rollout a --type=merge -p {merge}"),
        format!("patch rollout a --type=json -p {test}"),
        format!("patch rollout a --type=merge --subresource=status -p {merge}"),
        "label rollout a tier=web".to_owned(),
        "annotate rollout a note=1".to_owned(),
        "label rollout a tier-".to_owned(),
    ] {
        talk.kubectl(&words, "").await;
    }
}

pub async fn scale(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("replicasets", &replica_set("a", 0)).await;
    for words in [
        "scale rollout a --replicas=4",
        "scale rollout a --replicas=5 --current-replicas=9",
        "scale replicaset a --replicas=1",
        "get rollout a -o jsonpath={.spec.replicas}",
        "scale rollout none --replicas=1",
    ] {
        talk.kubectl(words, "").await;
    }
}

pub async fn delete(talk: &mut Talk<'_>) {
    for policy in ["background", "foreground", "orphan"] {
        let uid = talk.given("rollouts", &rollout(policy)).await.uid().to_owned();
        let mut owned = replica_set(policy, 0);
        owned["metadata"]["ownerReferences"] =
            crate::object::owner("tidegate.dev/v1alpha1", "Rollout", policy, &uid);
        talk.given("replicasets", &owned).await;
        talk.kubectl(&format!("delete rollout {policy} --dry-run=server"), "")
            .await;
        talk.kubectl(&format!("delete rollout {policy} --cascade={policy}"), "")
            .await;
        match policy {
            "orphan" => drop(talk.get("replicasets/orphan").await),
            policy => talk.until_gone(&format!("replicasets/{policy}")).await,
        }
    }
    talk.kubectl("delete rollout none", "").await;
    talk.kubectl("delete rollout none --ignore-not-found", "").await;
    talk.kubectl("delete rollouts --all", "").await;
}

pub async fn wait(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let time = "2026-01-01T00:00:00Z";
    let condition = json!({"type": "Available", "status": "True", "reason": "Up", "message": "", "lastTransitionTime": time});
    talk.merge(
        "rollouts/a/status",
        &json!({"status": {"phase": "Healthy", "conditions": [condition]}}),
    )
    .await;
    for words in [
        "wait rollout/a --for=condition=Available --timeout=5s",
        "wait rollout/a --for=condition=Degraded --timeout=1s",
        "wait rollout/a --for=jsonpath={.status.phase}=Healthy --timeout=5s",
        "wait rollout/none --for=delete --timeout=5s",
    ] {
        talk.kubectl(words, "").await;
    }
}

pub async fn explain(talk: &mut Talk<'_>) {
    talk.kubectl("explain rollout.spec.strategy.canary.steps", "")
        .await;
    talk.kubectl("explain rollout.spec.nonsense", "").await;
}

pub async fn api_resources(talk: &mut Talk<'_>) {
    talk.kubectl("api-resources --api-group=tidegate.dev", "").await;
}

/// Found on the PATH.
pub async fn plugin(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    for words in [
        "tidegate get a",
        "tidegate set image a app=registry.example/web:v2",
        "get rollout a -o jsonpath={.spec.template.spec.containers[0].image}",
        "tidegate promote none",
    ] {
        talk.kubectl(words, "").await;
    }
}

pub async fn commands_that_send_protobuf(talk: &mut Talk<'_>) {
    talk.kubectl("auth can-i create rollouts", "").await;
    talk.kubectl("create configmap made --from-literal=a=1", "").await;
    let made: Value = talk.ask("GET", "configmaps/made", JSON, "").await.body;
    talk.note(format!("  {}", made["data"]));
}
