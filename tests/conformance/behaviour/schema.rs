//! Custom resources: pruning, defaults, schemas and rules.

use serde_json::{Value, json};

use crate::object::{command, rollout};
use crate::table;
use crate::talk::{JSON, Talk};

pub async fn pruning_and_preserving(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["spec"]["nonsense"] = json!(1);
    object["spec"]["template"]["spec"]["futureField"] = json!({"kept": [1, 2.5, "x"]});
    object["spec"]["template"]["spec"]["containers"][0]["futureField"] = json!(true);
    object["spec"]["template"]["metadata"]["futureField"] = json!(true);
    object["spec"]["strategy"]["nonsense"] = json!({});
    let answer = talk.create("rollouts", &object).await;
    talk.show(
        &answer,
        &[
            "/spec/nonsense",
            "/spec/strategy/nonsense",
            "/spec/template/spec/futureField",
            "/spec/template/spec/containers/0/futureField",
            "/spec/template/metadata",
        ],
    );
    let answer = talk
        .merge(
            "rollouts/a/status",
            &json!({"status": {"nonsense": 1, "replicas": 1}}),
        )
        .await;
    talk.show(&answer, &["/status"]);
}

pub async fn defaults(talk: &mut Talk<'_>) {
    let created = talk.create("rollouts", &rollout("a")).await;
    talk.show(&created, &["/spec", "/status"]);
    let mut object = rollout("b");
    object["spec"]["strategy"]["canary"] = json!({
        "stableService": "s", "canaryService": "c", "trafficRouting": {"nginx": {"stableIngress": "i"}},
        "analysis": {"templates": [{"templateName": "t"}]}, "bake": {"duration": "1m"},
    });
    let created = talk.create("rollouts", &object).await;
    talk.show(&created, &["/spec/strategy"]);
    let template = table::template();
    let created = talk.create("analysistemplates", &placed(template, talk)).await;
    talk.show(&created, &["/spec"]);
}

fn placed(mut object: Value, talk: &Talk<'_>) -> Value {
    object["metadata"]["namespace"] = json!(talk.namespace);
    object
}

pub async fn nulls(talk: &mut Talk<'_>) {
    for pointer in [
        "/spec/replicas",
        "/spec/paused",
        "/spec/strategy/canary/steps",
        "/spec/template",
        "/spec/selector",
    ] {
        let mut object = rollout("a");
        if pointer == "/spec/paused" {
            object["spec"]["paused"] = json!(true);
        }
        *object.pointer_mut(pointer).unwrap() = Value::Null;
        let answer = talk.create("rollouts?dryRun=All", &object).await;
        if answer.code == 201 {
            talk.show(&answer, &[pointer]);
        }
    }
}

async fn refused(talk: &mut Talk<'_>, plural: &str, rows: Vec<(String, Value)>) {
    for (row, object) in rows {
        let object = placed(object, talk);
        talk.note(row);
        let answer = talk
            .create(&format!("{plural}?fieldValidation=Strict&dryRun=All"), &object)
            .await;
        if answer.code == 400 {
            talk.show(&answer, &["/message"]);
        }
    }
}

/// Each row's object, after what the row changes.
fn changed(base: &Value, rows: Vec<table::Bad<'_>>) -> Vec<(String, Value)> {
    let rows = rows.into_iter().map(|bad| {
        let mut object = base.clone();
        table::set(&mut object, &bad.pointer, &bad.value);
        let value: String = bad.value.to_string().chars().take(60).collect();
        (format!("{} {value}", bad.pointer), object)
    });
    rows.collect()
}

pub async fn bad_rollouts(talk: &mut Talk<'_>) {
    refused(
        talk,
        "rollouts",
        changed(&table::rollout_with_a_canary_scale(), table::rollouts()),
    )
    .await;
}

pub async fn bad_templates(talk: &mut Talk<'_>) {
    refused(
        talk,
        "analysistemplates",
        changed(&table::template(), table::templates()),
    )
    .await;
}

pub async fn bad_commands(talk: &mut Talk<'_>) {
    let rows = [
        ("/spec/rollout", json!("")),
        ("/spec/rollout", json!("x".repeat(254))),
        ("/spec/verb", json!("Explode")),
        ("/spec/verb", Value::Null),
        ("/spec/force", json!(true)),
        ("/spec/expect", json!({"step": -1})),
        ("/spec/expect", json!({"revision": 1.5})),
        ("/spec/alert", json!({"fingerprint": "x"})),
        (
            "/spec/alert",
            json!({"fingerprint": "x", "startsAt": "yesterday"}),
        ),
        ("/spec", json!("text")),
    ];
    let rows = rows.into_iter().map(|(pointer, value)| {
        let mut object = command("a");
        object["metadata"] = json!({"name": "a"});
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name] = value.clone();
        (
            format!("{pointer} {}", value.to_string().get(..9).unwrap_or("short")),
            object,
        )
    });
    refused(talk, "rolloutcommands", rows.collect()).await;
}

pub async fn an_immutable_selector(talk: &mut Talk<'_>) {
    let created = talk.given("rollouts", &rollout("a")).await;
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "web", "tier": "x"}},
        "template": {"metadata": {"labels": {"tier": "x"}}}}});
    talk.merge("rollouts/a", &selector).await;
    let mut object = created.body.clone();
    object["spec"]["selector"] = json!({"matchLabels": {"app": "web"}, "matchExpressions": []});
    talk.replace("rollouts/a", &object).await;
}

pub async fn an_immutable_command(talk: &mut Talk<'_>) {
    let created = talk.given("rolloutcommands", &command("a")).await;
    let path = format!("rolloutcommands/{}", created.name());
    for (path, patch) in [
        (path.clone(), json!({"spec": {"verb": "Promote"}})),
        (path.clone(), json!({"metadata": {"labels": {"a": "b"}}})),
        (
            format!("{path}/status"),
            json!({"status": {"phase": "Accepted", "message": "m"}}),
        ),
        (format!("{path}/status"), json!({"status": {"phase": "Exploded"}})),
    ] {
        let form = crate::talk::MERGE_PATCH;
        let answer = talk.ask("PATCH", &path, form, patch.to_string()).await;
        talk.note(format!("{patch}: {}", answer.code));
        talk.show(&answer, &["/details/causes/0/field", "/status"]);
    }
}

pub async fn status_of_a_rollout(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    for status in [
        json!({"phase": "Nonsense"}),
        json!({"replicas": "two"}),
        json!({"conditions": [{"type": "Available"}]}),
        json!({"conditions": "none"}),
    ] {
        talk.note(status.to_string());
        talk.merge("rollouts/a/status", &json!({"status": status})).await;
    }
}

/// What holds for the stored object is asked of every patch.
pub async fn rules_on_patches(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    for patch in [
        json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 101}]}}}}),
        json!({"spec": {"strategy": {"canary": {"steps": []}}}}),
        json!({"spec": {"strategy": {"blueGreen": {}}}}),
        json!({"spec": {"strategy": null}}),
        json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 1, "pause": {}}, {"setWeight": 400}]}}}}),
        json!({"spec": {"strategy": {"canary": {"maxSurge": 0, "maxUnavailable": 0}}}}),
        json!({"spec": {"replicas": 1e3}}),
        json!({"spec": {"replicas": 1.0}}),
    ] {
        talk.note(patch.to_string());
        talk.merge("rollouts/a", &patch).await;
    }
}

pub async fn a_new_kind(talk: &mut Talk<'_>) {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "default": 3, "maximum": 5},
        "open": {"x-kubernetes-int-or-string": true},
    }}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gates.conformance.example"},
        "spec": {
            "group": "conformance.example", "scope": "Namespaced",
            "names": {"plural": "gates", "singular": "gate", "kind": "Gate", "listKind": "GateList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let created = talk.create(definitions, &definition).await;
    talk.show(&created, &["/spec/names", "/spec/conversion"]);
    let path = format!("{definitions}/gates.conformance.example");
    let established = |answer: &crate::talk::Answer| {
        let conditions = answer.body["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let mut conditions = conditions.filter(|condition| condition["type"] == "Established");
        conditions.any(|condition| condition["status"] == "True")
    };
    talk.until("it is established", &path, established).await;
    let gates = format!("/apis/conformance.example/v1/namespaces/{}/gates", talk.namespace);
    talk.until("it is served", &gates, |answer| answer.code == 200)
        .await;
    let gate = |spec: Value| json!({"apiVersion": "conformance.example/v1", "kind": "Gate", "metadata": {"name": "a"}, "spec": spec});
    talk.create(&gates, &gate(json!({"size": 6}))).await;
    talk.create(&gates, &gate(json!({"open": 1.5}))).await;
    let answer = talk
        .create(&gates, &gate(json!({"open": "50%", "shut": true})))
        .await;
    talk.show(&answer, &["/spec", "/metadata/generation"]);
    // Without a status subresource, status is a field like others; here it is unknown.
    talk.tell("GET", &format!("{gates}/a/status"), JSON, "").await;
    talk.delete(&path, &json!({})).await;
    talk.until("it is not served", &gates, |answer| answer.code == 404)
        .await;
    let mut broken = definition.clone();
    broken["metadata"]["name"] = json!("other.conformance.example");
    talk.create(definitions, &broken).await;
}
