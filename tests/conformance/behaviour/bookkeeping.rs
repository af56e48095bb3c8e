//! Leases, events, and the reviews by which a client learns about itself.

use serde_json::{Value, json};

use crate::object::lease;
use crate::talk::Talk;

pub async fn leases(talk: &mut Talk<'_>) {
    let created = talk.create("leases", &lease("a")).await;
    talk.show(&created, &["/spec", "/metadata/generation"]);
    let taken = |version: &str, holder: &str| {
        json!({"metadata": {"resourceVersion": version},
            "spec": {"holderIdentity": holder, "renewTime": "2026-01-01T00:00:00.123456Z", "leaseTransitions": 1}})
    };
    let answer = talk.merge("leases/a", &taken(created.version(), "b")).await;
    talk.show(&answer, &["/spec"]);
    talk.merge("leases/a", &taken(created.version(), "c")).await;
    talk.replace("leases/a", &created.body).await;
    let answer = talk
        .merge("leases/a", &json!({"spec": {"holderIdentity": ""}}))
        .await;
    talk.show(&answer, &["/spec/holderIdentity"]);
    let answer = talk
        .merge(
            "leases/a",
            &json!({"spec": {"holderIdentity": null, "leaseDurationSeconds": null}}),
        )
        .await;
    talk.show(&answer, &["/spec"]);
    talk.merge("leases/a", &json!({"spec": {"leaseDurationSeconds": -1}}))
        .await;
    talk.merge("leases/a", &json!({"spec": {"leaseDurationSeconds": "1"}}))
        .await;
    talk.merge("leases/a", &json!({"spec": {"renewTime": "yesterday"}}))
        .await;
}

fn event(namespace: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "tidegate.dev/controller",
        "reportingInstance": "controller-a", "action": "Promote", "reason": "Promoted", "type": "Normal",
        "note": "all good",
        "regarding": {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "a", "namespace": namespace},
    })
}

pub async fn events(talk: &mut Talk<'_>) {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", talk.namespace);
    let created = talk.create(&path, &event(&talk.namespace.clone())).await;
    talk.show(&created, &["/apiVersion", "/note", "/regarding/name"]);
    let core = talk.get("events/a").await;
    talk.show(
        &core,
        &[
            "/apiVersion",
            "/kind",
            "/message",
            "/reason",
            "/type",
            "/action",
            "/involvedObject/name",
            "/reportingComponent",
            "/reportingInstance",
            "/count",
            "/source",
        ],
    );
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}});
    let answer = talk.merge(&format!("{path}/a"), &series).await;
    talk.show(&answer, &["/series/count"]);
    let listed = talk.get(&format!("{path}?fieldSelector=reason=Promoted")).await;
    talk.note(format!("  {} listed", listed.items().len()));
    for selector in [
        "involvedObject.name=a",
        "involvedObject.kind=Rollout,type=Normal",
        "involvedObject.name=b",
    ] {
        let listed = talk.get(&format!("events?fieldSelector={selector}")).await;
        talk.note(format!("  {} listed", listed.items().len()));
    }
}

pub async fn invalid_events(talk: &mut Talk<'_>) {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", talk.namespace);
    let whole = event(&talk.namespace.clone());
    for field in [
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
        "eventTime",
        "type",
        "note",
    ] {
        talk.note(field);
        let mut object = whole.clone();
        object.as_object_mut().unwrap().remove(field);
        talk.create(&format!("{path}?dryRun=All"), &object).await;
    }
    let mut object = whole.clone();
    object["note"] = json!("x".repeat(1025));
    talk.create(&path, &object).await;
    let mut object = whole;
    object["regarding"]["namespace"] = json!("default");
    talk.create(&path, &object).await;
}

pub async fn reviews(talk: &mut Talk<'_>) {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "create", "group": "tidegate.dev", "resource": "rollouts"}},
    });
    let answer = talk
        .create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review)
        .await;
    talk.show(&answer, &["/kind", "/status/allowed"]);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = talk
        .create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)
        .await;
    talk.note(format!(
        "  a name: {}",
        answer.body["status"]["userInfo"]["username"].is_string()
    ));
}
