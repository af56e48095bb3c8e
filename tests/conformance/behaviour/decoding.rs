//! What is read of a request: options and bodies, with fields that nobody knows or that come twice.

use serde_json::{Value, json};

use crate::object::{config_map, replica_set, rollout};
use crate::talk::{JSON, JSON_PATCH, MERGE_PATCH, Talk};

pub async fn invalid_options(talk: &mut Talk<'_>) {
    for option in [
        "dryRun=nonsense",
        "fieldValidation=nonsense",
        "fieldManager=%C3%A9%0A",
    ] {
        talk.create(&format!("rollouts?{option}"), &rollout("a")).await;
        talk.ask("DELETE", "rollouts/a", JSON, "").await;
    }
    talk.get("rollouts?limit=nonsense").await;
}

async fn with_unknown_fields(talk: &mut Talk<'_>, plural: &str, object: Value, inner: &str) {
    let mut object = object;
    object["unknown"] = json!(1);
    object["spec"]["nonsense"] = json!({"a": 1});
    *object.pointer_mut(inner).unwrap() = json!({"deep": 1});
    for validation in ["", "Warn", "Ignore", "Strict"] {
        let query = match validation {
            "" => String::new(),
            validation => format!("?fieldValidation={validation}"),
        };
        let answer = talk.create(&format!("{plural}{query}"), &object).await;
        talk.show(&answer, &["/unknown", "/spec/nonsense", inner]);
        if answer.code >= 400 {
            talk.show(&answer, &["/message"]);
            continue;
        }
        let patch = json!({"spec": {"foreign": true}});
        let answer = talk
            .tell(
                "PATCH",
                &format!("{plural}/a{query}"),
                MERGE_PATCH,
                patch.to_string(),
            )
            .await;
        talk.show(&answer, &["/spec/foreign"]);
        talk.ask("DELETE", &format!("{plural}/a"), JSON, "").await;
    }
    talk.given(plural, &object).await;
    let patch = json!({"spec": {"foreign": true}});
    let path = format!("{plural}/a?fieldValidation=Strict");
    let answer = talk.tell("PATCH", &path, MERGE_PATCH, patch.to_string()).await;
    let names = answer
        .text("/message")
        .replace('\\', "")
        .contains("unknown field \"spec.foreign\"");
    talk.note(format!("  names the field: {names}"));
}

pub async fn unknown_fields_of_a_rollout(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["spec"]["strategy"]["canary"]["steps"][0]["nothing"] = Value::Null;
    with_unknown_fields(talk, "rollouts", object, "/spec/strategy/canary/steps/0/nothing").await;
}

pub async fn unknown_fields_of_a_replica_set(talk: &mut Talk<'_>) {
    let mut object = replica_set("a", 0);
    object["spec"]["template"]["spec"]["containers"][0]["nothing"] = Value::Null;
    with_unknown_fields(
        talk,
        "replicasets",
        object,
        "/spec/template/spec/containers/0/nothing",
    )
    .await;
}

/// As a status from a controller that is newer than the CustomResourceDefinitions.
pub async fn unknown_fields_of_a_status(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let status = json!({"phase": "Healthy", "nothing": {"a": 1}});
    let patch = json!([{"op": "add", "path": "/status", "value": status}]).to_string();
    for validation in ["Ignore", "Strict"] {
        let path = format!("rollouts/a/status?fieldValidation={validation}");
        let answer = talk.tell("PATCH", &path, JSON_PATCH, patch.clone()).await;
        talk.show(&answer, &["/status"]);
        let message = answer.text("/message").replace('\\', "");
        let names = message.contains("unknown field \"status.nothing\"");
        talk.note(format!("  names the field: {names}"));
    }
}

pub async fn duplicate_fields(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        let text = object.to_string();
        let twice = text.replacen("\"metadata\":", "\"metadata\":{},\"metadata\":", 1);
        for validation in ["Strict", "Warn", "Ignore"] {
            let path = format!("{plural}?fieldValidation={validation}");
            let answer = talk.tell("POST", &path, JSON, twice.clone()).await;
            if answer.code >= 400 {
                talk.show(&answer, &["/message"]);
            }
        }
        let patch = "{\"metadata\":{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}}";
        let path = format!("{plural}/a?fieldValidation=Strict");
        talk.tell("PATCH", &path, MERGE_PATCH, patch).await;
    }
}

pub async fn unreadable_bodies(talk: &mut Talk<'_>) {
    for plural in ["rollouts", "configmaps"] {
        for (form, body) in [
            (JSON, ""),
            (JSON, "{"),
            (JSON, "[]"),
            (JSON, "{}"),
            (JSON, "\"text\""),
            ("text/plain", "{}"),
        ] {
            talk.note(format!("{form} {body}"));
            talk.tell("POST", plural, form, body).await;
        }
    }
}

pub async fn a_yaml_body(talk: &mut Talk<'_>) {
    talk.tell("POST", "configmaps", "application/yaml", "kind: [")
        .await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\n";
    talk.tell("POST", "configmaps", "application/yaml", yaml).await;
}

pub async fn wrong_types(talk: &mut Talk<'_>) {
    for (plural, object, pointer, value) in [
        ("rollouts", rollout("a"), "/spec/replicas", json!("two")),
        ("rollouts", rollout("a"), "/spec/template", json!([])),
        ("rollouts", rollout("a"), "/spec", json!("text")),
        ("rollouts", rollout("a"), "/metadata", json!("text")),
        ("replicasets", replica_set("a", 0), "/spec/replicas", json!("two")),
        ("replicasets", replica_set("a", 0), "/spec/replicas", json!(1.5)),
        ("replicasets", replica_set("a", 0), "/spec/selector", json!([])),
        ("configmaps", config_map("a"), "/data/a", json!(1)),
        ("configmaps", config_map("a"), "/metadata", json!([])),
    ] {
        talk.note(format!("{pointer} {value}"));
        let mut object = object;
        *object.pointer_mut(pointer).unwrap() = value;
        talk.create(plural, &object).await;
    }
}
