//! Pods as nodes and schedulers write them.

use serde_json::json;

use crate::object::pod;
use crate::talk::{JSON, Talk};

pub async fn defaults(talk: &mut Talk<'_>) {
    let created = talk.create("pods", &pod("a")).await;
    talk.show(
        &created,
        &[
            "/status/phase",
            "/status/qosClass",
            "/spec/restartPolicy",
            "/spec/terminationGracePeriodSeconds",
            "/spec/nodeName",
            "/spec/containers/0/image",
            "/spec/containers/0/ports/0/protocol",
        ],
    );
}

pub async fn binding(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    let binding = |node: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
    };
    for node in ["", "sandbox", "other"] {
        let answer = talk.create("pods/a/binding", &binding(node)).await;
        talk.show(&answer, &["/kind", "/status"]);
    }
    let bound = talk.get("pods/a").await;
    talk.show(&bound, &["/spec/nodeName"]);
    let scheduled = bound.body["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    let scheduled: Vec<_> = scheduled
        .map(|condition| format!("{} {}", condition["type"], condition["status"]))
        .collect();
    talk.note(format!("  {scheduled:?}"));
    talk.create("pods/none/binding", &binding("sandbox")).await;
}

pub async fn eviction(talk: &mut Talk<'_>) {
    let eviction = |name: &str, options: serde_json::Value| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    talk.given("pods", &pod("a")).await;
    talk.bind("a").await;
    let other = json!({"preconditions": {"uid": "another"}});
    talk.create("pods/a/eviction", &eviction("a", other)).await;
    talk.create("pods/a/eviction", &eviction("b", json!({}))).await;
    talk.create("pods/none/eviction", &eviction("none", json!({})))
        .await;
    let uid = talk.get("pods/a").await.uid().to_owned();
    let own = json!({"preconditions": {"uid": uid}});
    let answer = talk.create("pods/a/eviction", &eviction("a", own)).await;
    talk.show(&answer, &["/kind", "/status"]);
    let evicted = talk.get("pods/a").await;
    talk.show(&evicted, &["/metadata/deletionGracePeriodSeconds"]);
    // One that no node runs goes at once.
    talk.given("pods", &pod("b")).await;
    talk.create("pods/b/eviction", &eviction("b", json!({}))).await;
    talk.get("pods/b").await;
    talk.tell("GET", "pods/a/eviction", JSON, "").await;
}

pub async fn status(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    talk.bind("a").await;
    talk.run_pod("a", "10.77.8.1", true).await;
    let answer = talk.get("pods/a").await;
    talk.show(
        &answer,
        &[
            "/status/phase",
            "/status/podIP",
            "/status/podIPs",
            "/metadata/generation",
        ],
    );
    let answer = talk
        .merge("pods/a", &json!({"status": {"phase": "Failed"}}))
        .await;
    talk.show(&answer, &["/status/phase"]);
    talk.merge("pods/a/status", &json!({"status": {"podIP": "nonsense"}}))
        .await;
}

pub async fn immutable_spec(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    let form = crate::talk::STRATEGIC_PATCH;
    let image = json!({"spec": {"containers": [{"name": "app", "image": "registry.example/web:v2"}]}});
    talk.patch("pods/a", form, &image).await;
    let environment =
        json!({"spec": {"containers": [{"name": "app", "env": [{"name": "A", "value": "1"}]}]}});
    talk.patch("pods/a", form, &environment).await;
    talk.merge("pods/a", &json!({"metadata": {"labels": {"app": "other"}}}))
        .await;
}

pub async fn missing_fields(talk: &mut Talk<'_>) {
    for (pointer, value) in [
        ("/spec/containers", json!([])),
        ("/spec/containers/0/name", json!("")),
        ("/spec/containers/0/name", json!("Bad_Name")),
        ("/spec/containers/0/image", json!("")),
        ("/spec/containers/0/ports/0/containerPort", json!(0)),
        ("/spec/containers/0/ports/0/containerPort", json!(70000)),
    ] {
        let mut object = pod("a");
        *object.pointer_mut(pointer).unwrap() = value.clone();
        talk.note(format!("{pointer} {value}"));
        talk.tell("POST", "pods?dryRun=All", JSON, object.to_string())
            .await;
    }
    let mut object = pod("a");
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "lots"}});
    talk.create("pods?dryRun=All", &object).await;
}
