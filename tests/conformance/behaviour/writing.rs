//! Create and update.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::object::{config_map, labelled, lease, pod, replica_set, rollout, service};
use crate::talk::{JSON, Talk};

pub async fn an_existing_name(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        talk.create(plural, &object).await;
        let answer = talk.create(plural, &object).await;
        talk.show(&answer, &["/message"]);
    }
}

pub async fn generated_names(talk: &mut Talk<'_>) {
    let mut object = rollout("");
    object["metadata"] = json!({"generateName": "made-"});
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = talk.create("rollouts", &object).await;
        talk.show(&answer, &["/metadata/generateName"]);
        let suffix = answer.name().strip_prefix("made-").unwrap_or_default().to_owned();
        let allowed = suffix
            .chars()
            .all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter));
        talk.note(format!(
            "  suffix of {} letters, as they should be: {allowed}",
            suffix.len()
        ));
        names.push(suffix);
    }
    talk.note(format!("  different: {}", names[0] != names[1]));
    object["metadata"] = json!({"generateName": "made-", "name": "given"});
    let answer = talk.create("rollouts", &object).await;
    talk.show(&answer, &["/metadata/name"]);
    object["metadata"] = json!({});
    talk.create("rollouts", &object).await;
    object["metadata"] = json!({"generateName": "Made_"});
    let refused = talk.ask("POST", "rollouts", JSON, object.to_string()).await;
    let fields = refused.body["details"]["causes"].as_array().into_iter().flatten();
    let fields: BTreeSet<_> = fields.map(|cause| cause["field"].to_string()).collect();
    talk.note(format!("  {} {fields:?}", refused.code));
}

pub async fn invalid_names(talk: &mut Talk<'_>) {
    for name in [
        "Upper",
        "under_score",
        "-dash",
        "dot.ted",
        "9",
        &"a".repeat(64),
        &"a".repeat(254),
    ] {
        talk.note(format!(
            "{} letters: {}",
            name.len(),
            name.get(..9).unwrap_or(name)
        ));
        for (plural, object) in [
            ("rollouts", rollout(name)),
            ("replicasets", replica_set(name, 0)),
            ("pods", pod(name)),
            ("services", service(name)),
            ("configmaps", config_map(name)),
        ] {
            let answer = talk.ask("POST", plural, JSON, object.to_string()).await;
            let causes = answer.body["details"]["causes"].as_array().into_iter().flatten();
            let fields: Vec<_> = causes.map(|cause| cause["field"].clone()).collect();
            talk.note(format!("  {plural}: {} {}", answer.code, json!(fields)));
        }
    }
}

pub async fn a_version_at_creation(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["metadata"]["resourceVersion"] = json!("1");
    talk.create("rollouts", &object).await;
    object["metadata"]["resourceVersion"] = json!("");
    object["metadata"]["uid"] = json!("mine");
    let answer = talk.create("rollouts", &object).await;
    talk.note(format!("  my uid: {}", answer.uid() == "mine"));
}

pub async fn wrong_places(talk: &mut Talk<'_>) {
    let created = talk.given("rollouts", &rollout("a")).await;
    let changed = |pointer: &str, value: Value| {
        let mut object = created.body.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        object
    };
    for (pointer, value) in [
        ("/metadata/name", "b"),
        ("/metadata/namespace", "default"),
        ("/kind", "Other"),
        ("/apiVersion", "other.dev/v1"),
    ] {
        talk.note(pointer);
        talk.replace("rollouts/a", &changed(pointer, json!(value))).await;
    }
    let mut elsewhere = rollout("c");
    elsewhere["metadata"]["namespace"] = json!("default");
    talk.create("rollouts", &elsewhere).await;
    for field in ["kind", "apiVersion"] {
        let mut bare = rollout("d");
        bare.as_object_mut().unwrap().remove(field);
        talk.create("rollouts", &bare).await;
        let mut bare = config_map("d");
        bare.as_object_mut().unwrap().remove(field);
        talk.create("configmaps", &bare).await;
        bare["metadata"]["name"] = json!("e");
    }
}

pub async fn stale_updates(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        let created = talk.given(plural, &object).await;
        let path = format!("{plural}/a");
        talk.merge(&path, &json!({"metadata": {"labels": {"tier": "web"}}}))
            .await;
        let answer = talk.replace(&path, &created.body).await;
        talk.show(&answer, &["/message"]);
    }
    let created = talk.ask("GET", "rollouts/a", JSON, "").await;
    talk.merge("rollouts/a", &json!({"spec": {"replicas": 3}})).await;
    talk.replace("rollouts/a/status", &created.body).await;
}

pub async fn updates_without_version(talk: &mut Talk<'_>) {
    for (plural, object) in [
        ("rollouts", rollout("a")),
        ("configmaps", config_map("a")),
        ("replicasets", replica_set("a", 0)),
        ("leases", lease("a")),
    ] {
        talk.given(plural, &object).await;
        let answer = talk
            .replace(&format!("{plural}/a"), &labelled(object, "tier", "web"))
            .await;
        talk.show(&answer, &["/metadata/labels"]);
    }
}

pub async fn a_wrong_uid(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
        let mut created = talk.given(plural, &object).await;
        created.body["metadata"]["uid"] = json!("11111111-1111-1111-1111-111111111111");
        talk.replace(&format!("{plural}/a"), &created.body).await;
    }
}

pub async fn a_missing_object(talk: &mut Talk<'_>) {
    for (path, object) in [
        ("rollouts/a", rollout("a")),
        ("configmaps/a", config_map("a")),
        ("replicasets/a", replica_set("a", 0)),
        ("rollouts/a/status", rollout("a")),
    ] {
        talk.replace(path, &object).await;
        let mut versioned = object;
        versioned["metadata"]["resourceVersion"] = json!("1");
        talk.replace(path, &versioned).await;
    }
}

pub async fn an_update_that_changes_nothing(talk: &mut Talk<'_>) {
    for (plural, object) in [("rollouts", rollout("a")), ("replicasets", replica_set("a", 0))] {
        talk.given(plural, &object).await;
        let path = format!("{plural}/a");
        if plural == "replicasets" {
            talk.until("it is seen", &path, |answer| {
                answer.body["status"]["observedGeneration"] == 1
            })
            .await;
        }
        let before = talk.ask("GET", &path, JSON, "").await;
        let answer = talk.replace(&path, &before.body).await;
        talk.note(format!(
            "  version kept: {}",
            answer.version() == before.version()
        ));
    }
}

async fn generation_after(talk: &mut Talk<'_>, path: &str, patch: Value) {
    let answer = talk.merge(path, &patch).await;
    talk.show(&answer, &["/metadata/generation"]);
}

pub async fn generation_of_a_rollout(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["metadata"]["generation"] = json!(7);
    let created = talk.create("rollouts", &object).await;
    talk.show(&created, &["/metadata/generation"]);
    generation_after(talk, "rollouts/a", json!({"spec": {"replicas": 3}})).await;
    generation_after(talk, "rollouts/a", json!({"spec": {"replicas": 3}})).await;
    generation_after(talk, "rollouts/a", json!({"metadata": {"labels": {"a": "b"}}})).await;
    generation_after(talk, "rollouts/a", json!({"status": {"replicas": 9}})).await;
    generation_after(talk, "rollouts/a/status", json!({"status": {"replicas": 9}})).await;
    generation_after(
        talk,
        "rollouts/a",
        json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"paused": true}}),
    )
    .await;
}

pub async fn generation_of_a_replica_set(talk: &mut Talk<'_>) {
    let created = talk.create("replicasets", &replica_set("a", 0)).await;
    talk.show(&created, &["/metadata/generation"]);
    generation_after(talk, "replicasets/a", json!({"spec": {"minReadySeconds": 1}})).await;
    generation_after(talk, "replicasets/a", json!({"metadata": {"labels": {"a": "b"}}})).await;
    generation_after(talk, "replicasets/a", json!({"status": {"replicas": 9}})).await;
    let seen = |answer: &crate::talk::Answer| answer.body["status"]["observedGeneration"] == 2;
    talk.until("it is seen", "replicasets/a", seen).await;
    let created = talk.create("pods", &pod("a")).await;
    talk.show(&created, &["/metadata/generation"]);
    for (plural, object) in [
        ("services", service("a")),
        ("configmaps", config_map("a")),
        ("leases", lease("a")),
    ] {
        let created = talk.create(plural, &object).await;
        talk.show(&created, &["/metadata/generation"]);
    }
}

pub async fn status_apart_from_spec(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["status"] = json!({"replicas": 5});
    let created = talk.create("rollouts", &object).await;
    talk.show(&created, &["/status"]);
    let patch =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 7}, "status": {"replicas": 1}});
    let answer = talk.merge("rollouts/a/status", &patch).await;
    talk.show(
        &answer,
        &[
            "/spec/replicas",
            "/status",
            "/metadata/labels",
            "/metadata/generation",
        ],
    );
    let answer = talk
        .merge(
            "rollouts/a",
            &json!({"spec": {"replicas": 8}, "status": {"replicas": 2}}),
        )
        .await;
    talk.show(&answer, &["/spec/replicas", "/status", "/metadata/generation"]);
    let mut whole = answer.body.clone();
    whole["spec"]["replicas"] = json!(9);
    whole["status"] = json!({"replicas": 3});
    let answer = talk.replace("rollouts/a/status", &whole).await;
    talk.show(&answer, &["/spec/replicas", "/status"]);
    let answer = talk.merge("rollouts/a/status", &json!({"status": null})).await;
    talk.show(&answer, &["/status"]);
    let answer = talk.get("rollouts/a/status").await;
    talk.show(&answer, &["/kind", "/spec/replicas"]);
}

pub async fn fields_of_the_server(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    object["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    object["metadata"]["selfLink"] = json!("/mine");
    let created = talk.create("rollouts", &object).await;
    talk.show(&created, &["/metadata/deletionTimestamp", "/metadata/selfLink"]);
    talk.note(format!(
        "  my time: {}",
        created.text("/metadata/creationTimestamp").starts_with("2020")
    ));
    let mut changed = created.body.clone();
    changed["metadata"]["creationTimestamp"] = Value::Null;
    changed["metadata"]["uid"] = Value::Null;
    changed["metadata"]["generation"] = json!(9);
    let answer = talk.replace("rollouts/a", &changed).await;
    talk.show(&answer, &["/metadata/generation"]);
    let kept = answer.uid() == created.uid()
        && answer.text("/metadata/creationTimestamp") == created.text("/metadata/creationTimestamp");
    talk.note(format!("  uid and time kept: {kept}"));
}

pub async fn dry_runs(talk: &mut Talk<'_>) {
    let answer = talk.create("rollouts?dryRun=All", &rollout("a")).await;
    talk.show(&answer, &["/metadata/generation", "/metadata/resourceVersion"]);
    talk.note(format!("  a uid: {}", !answer.uid().is_empty()));
    talk.get("rollouts/a").await;
    let mut bad = rollout("a");
    bad["spec"]["replicas"] = json!(-1);
    talk.create("rollouts?dryRun=All", &bad).await;
    talk.create("replicasets?dryRun=All", &replica_set("a", 1)).await;
    let before = talk.given("rollouts", &rollout("a")).await;
    talk.create("rollouts?dryRun=All", &rollout("a")).await;
    let patch = json!({"spec": {"replicas": 3}});
    let answer = talk.merge("rollouts/a?dryRun=All", &patch).await;
    talk.show(&answer, &["/spec/replicas", "/metadata/generation"]);
    talk.note(format!(
        "  version kept: {}",
        answer.version() == before.version()
    ));
    let mut whole = before.body.clone();
    whole["spec"]["replicas"] = json!(4);
    let answer = talk.replace("rollouts/a?dryRun=All", &whole).await;
    talk.show(&answer, &["/spec/replicas"]);
    talk.merge(
        "rollouts/a/status?dryRun=All",
        &json!({"status": {"replicas": 4}}),
    )
    .await;
    let after = talk.get("rollouts/a").await;
    talk.show(&after, &["/spec/replicas", "/status"]);
    talk.note(format!("  version kept: {}", after.version() == before.version()));
}

pub async fn managers_of_fields(talk: &mut Talk<'_>) {
    talk.create("rollouts?fieldManager=somebody", &rollout("a")).await;
    talk.merge(
        "rollouts/a/status?fieldManager=other",
        &json!({"status": {"replicas": 1}}),
    )
    .await;
    let answer = talk.get("rollouts/a").await;
    for entry in answer.body["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let words =
            ["manager", "operation", "apiVersion", "subresource"].map(|field| entry[field].to_string());
        talk.note(format!("  {}", words.join(" ")));
    }
}

pub async fn a_missing_namespace(talk: &mut Talk<'_>) {
    for (root, plural, object) in [
        ("apis/tidegate.dev/v1alpha1", "rollouts", rollout("a")),
        ("api/v1", "configmaps", config_map("a")),
        ("apis/apps/v1", "replicasets", replica_set("a", 0)),
    ] {
        let answer = talk
            .create(&format!("/{root}/namespaces/nowhere/{plural}"), &object)
            .await;
        talk.show(&answer, &["/message"]);
    }
}

pub async fn annotations_and_labels(talk: &mut Talk<'_>) {
    for metadata in [
        json!({"annotations": {"number": 1}}),
        json!({"annotations": {"bad key": "1"}}),
        json!({"annotations": {"tidegate.dev/": "1"}}),
        json!({"labels": {"number": 1}}),
        json!({"labels": {"bad key": "1"}}),
        json!({"labels": {"a": "bad value"}}),
        json!({"labels": {"a": "x".repeat(64)}}),
        json!({"labels": {"Bad.Prefix/a": "1"}}),
        json!({"labels": {"a/b/c": "1"}}),
        json!({"finalizers": ["no-domain"]}),
        json!({"finalizers": ["bad key/x"]}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}]}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": ""}]}),
    ] {
        talk.note(metadata.to_string());
        for (plural, mut object) in [("rollouts", rollout("a")), ("configmaps", config_map("a"))] {
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .extend(metadata.as_object().unwrap().clone());
            let answer = talk.create(&format!("{plural}?dryRun=All"), &object).await;
            if answer.code == 201 {
                talk.show(&answer, &["/metadata/labels", "/metadata/annotations"]);
            }
        }
    }
    let mut object = config_map("a");
    object["metadata"]["annotations"] = json!({"long": "x".repeat(300_000)});
    talk.create("configmaps", &object).await;
}
