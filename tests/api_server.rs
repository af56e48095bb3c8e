//! The sandbox's API server as its clients see it: through `kube::Client` in the process, and over HTTP.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is a failure")]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::http::HttpServer;
use tidegate::sandbox::api_server::store::Verb;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Commit, Fault, Interceptor, Store};

fn server() -> ApiServer {
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    ApiServer::new(1, Clock::virtual_at(now))
}

fn replica_set(name: &str) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }))
    .unwrap()
}

fn config_map(name: &str, labels: &[(&str, &str)]) -> ConfigMap {
    let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn gate_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gates.example.dev"},
        "spec": {
            "group": "example.dev", "scope": "Namespaced",
            "names": {"plural": "gates", "singular": "gate", "kind": "Gate", "shortNames": ["gt"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                    "spec": {"type": "object",
                        "x-kubernetes-validations": [{"rule": "self.replicas <= 10", "message": "at most ten"}],
                        "properties": {
                            "replicas": {"type": "integer", "minimum": 0, "default": 1},
                            "mode": {"type": "string", "enum": ["Open", "Shut"],
                                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
            }],
        },
    })
}

fn gates(client: kube::Client) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.dev", "v1", "Gate"), "gates");
    Api::default_namespaced_with(client, &resource)
}

fn gate(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(
        json!({"apiVersion": "example.dev/v1", "kind": "Gate", "metadata": {"name": name},
        "spec": spec}),
    )
    .unwrap()
}

fn refusal(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("not an answer of the API server: {other}"),
    }
}

#[tokio::test]
async fn a_typed_object_through_its_life() {
    let api: Api<ReplicaSet> = Api::default_namespaced(server().client("test"));
    let created = api
        .create(&PostParams::default(), &replica_set("web"))
        .await
        .unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(
        created
            .metadata
            .creation_timestamp
            .as_ref()
            .unwrap()
            .0
            .to_string(),
        "2026-01-01T00:00:00Z"
    );

    let mut changed = created.clone();
    changed.spec.as_mut().unwrap().replicas = Some(3);
    let updated = api
        .replace("web", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!(updated.metadata.generation, Some(2));
    let (code, message) = refusal(
        api.replace("web", &PostParams::default(), &changed)
            .await
            .unwrap_err(),
    );
    assert_eq!(code, 409);
    assert!(
        message.starts_with("Operation cannot be fulfilled on replicasets.apps \"web\""),
        "{message}"
    );

    let status = json!({"status": {"replicas": 3, "readyReplicas": 1}});
    let patched = api
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    assert_eq!(patched.status.unwrap().ready_replicas, Some(1));

    let scale = api.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));

    api.delete("web", &DeleteParams::default())
        .await
        .unwrap()
        .right()
        .expect("gone at once");
    let (code, message) = refusal(api.get("web").await.unwrap_err());
    assert_eq!(
        (code, message.as_str()),
        (404, "replicasets.apps \"web\" not found")
    );
}

#[tokio::test]
async fn a_failed_test_of_a_json_patch_changes_nothing() {
    let api: Api<ReplicaSet> = Api::default_namespaced(server().client("test"));
    let created = api
        .create(&PostParams::default(), &replica_set("web"))
        .await
        .unwrap();
    let patch = |expected: i32, version: &str| {
        serde_json::from_value::<json_patch::Patch>(json!([
            {"op": "test", "path": "/spec/replicas", "value": expected},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/spec/replicas", "value": 9},
        ]))
        .unwrap()
    };
    let version = created.metadata.resource_version.unwrap();
    let table = [(5, version.as_str(), 422), (2, "1", 409)];
    for (expected, version, code) in table {
        let refused = api
            .patch(
                "web",
                &PatchParams::default(),
                &Patch::<()>::Json(patch(expected, version)),
            )
            .await;
        assert_eq!(refusal(refused.unwrap_err()).0, code);
        assert_eq!(api.get("web").await.unwrap().spec.unwrap().replicas, Some(2));
    }
    let patched = api
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::<()>::Json(patch(2, &version)),
        )
        .await
        .unwrap();
    assert_eq!(patched.spec.unwrap().replicas, Some(9));
}

#[tokio::test]
async fn custom_resources_are_defaulted_validated_and_scaled() {
    let server = server();
    server.install_crd(gate_definition()).unwrap();
    let api = gates(server.client("test"));
    let created = api
        .create(
            &PostParams::default(),
            &gate("a", json!({"mode": "Open", "extra": 1})),
        )
        .await
        .unwrap();
    assert_eq!(created.data["spec"], json!({"mode": "Open", "replicas": 1}));

    let table = [
        (
            json!({"replicas": -1}),
            "Gate.example.dev \"b\" is invalid: [.spec.replicas: Invalid value: -1: should be a non-negative integer, \
             spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0]",
        ),
        (
            json!({"replicas": 11}),
            "Gate.example.dev \"b\" is invalid: spec: Invalid value: \"object\": at most ten",
        ),
        (
            json!({"mode": "Ajar"}),
            "Gate.example.dev \"b\" is invalid: [spec.mode: Unsupported value: \"Ajar\": supported values: \"Open\", \"Shut\", \
             <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation]",
        ),
    ];
    for (spec, expected) in table {
        let refused = api
            .create(&PostParams::default(), &gate("b", spec))
            .await
            .unwrap_err();
        assert_eq!(refusal(refused), (422, expected.to_owned()));
    }
    let shut = Patch::Merge(json!({"spec": {"mode": "Shut"}}));
    let refused = api.patch("a", &PatchParams::default(), &shut).await.unwrap_err();
    assert_eq!(
        refusal(refused).1,
        "Gate.example.dev \"a\" is invalid: spec.mode: Invalid value: \"Shut\": immutable"
    );

    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    api.patch_scale("a", &PatchParams::default(), &scale)
        .await
        .unwrap();
    assert_eq!(api.get("a").await.unwrap().data["spec"]["replicas"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_marks_its_place_and_expires() {
    let server = server();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("test"));
    let first = api
        .create(&PostParams::default(), &config_map("a", &[]))
        .await
        .unwrap();
    let version = first.metadata.resource_version.unwrap();
    api.create(&PostParams::default(), &config_map("b", &[]))
        .await
        .unwrap();

    let params = WatchParams::default().timeout(100);
    let mut events = api.watch(&params, &version).await.unwrap().boxed();
    let Some(WatchEvent::Added(added)) = events.try_next().await.unwrap() else {
        panic!("expected b")
    };
    assert_eq!(added.metadata.name.as_deref(), Some("b"));
    let Some(WatchEvent::Bookmark(mark)) = events.try_next().await.unwrap() else {
        panic!("expected a bookmark")
    };
    assert_eq!(
        mark.metadata.resource_version,
        added.metadata.resource_version.unwrap()
    );
    while events.try_next().await.unwrap().is_some() {}

    server.compact();
    let mut late = api.watch(&params, &version).await.unwrap().boxed();
    let Some(WatchEvent::Error(status)) = late.try_next().await.unwrap() else {
        panic!("expected to be too late")
    };
    assert_eq!(status.code, 410);
}

#[tokio::test]
async fn the_watcher_of_kube_runtime_recovers_from_410() {
    let server = server();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("test"));
    api.create(&PostParams::default(), &config_map("a", &[]))
        .await
        .unwrap();
    let config = watcher::Config::default().labels("keep=yes");
    let mut events = watcher(api.clone(), config).boxed();
    let mut seen = Vec::new();
    let scenario = async {
        api.create(&PostParams::default(), &config_map("b", &[("keep", "yes")]))
            .await
            .unwrap();
        let leave = Patch::Merge(json!({"metadata": {"labels": {"keep": "no"}}}));
        api.patch("b", &PatchParams::default(), &leave).await.unwrap();
    };
    let mut scenario = Some(scenario);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            watcher::Event::InitDone => {
                seen.push("listed".to_owned());
                scenario.take().unwrap().await;
            }
            watcher::Event::Apply(object) => seen.push(format!("applied {}", object.metadata.name.unwrap())),
            watcher::Event::Delete(object) => {
                seen.push(format!("deleted {}", object.metadata.name.unwrap()));
                break;
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
    assert_eq!(seen, ["listed", "applied b", "deleted b"]);
}

#[tokio::test]
async fn lists_come_in_consistent_pages() {
    let server = server();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("test"));
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, &[]))
            .await
            .unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items.len(), 2);
    api.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    let names: Vec<_> = second
        .items
        .into_iter()
        .filter_map(|object| object.metadata.name)
        .collect();
    assert_eq!(names, ["c"], "the list shows the moment it began");
    server.compact();
    let expired = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap_err();
    assert_eq!(refusal(expired).0, 410);
}

/// Meets the n-th write with a fault and notes the commits.
struct Script {
    faults: Vec<Fault>,
    commits: std::sync::mpsc::Sender<String>,
}

impl Interceptor for Script {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        if request.verb.is_write() {
            self.faults.pop().unwrap_or_default()
        } else {
            Fault::None
        }
    }

    fn committed(&mut self, commit: &Commit, store: &Store) {
        assert_eq!(
            store.get(&commit.kind, &commit.namespace, &commit.name),
            commit.after
        );
        let manager = commit.field_manager.as_deref().unwrap_or("-");
        let note = format!(
            "{:?} {} {} by {} as {manager}",
            commit.verb, commit.kind, commit.name, commit.actor
        );
        self.commits.send(note).unwrap();
    }
}

#[tokio::test]
async fn faults_and_commits_reach_the_interceptor() {
    let server = server();
    let (commits, noted) = std::sync::mpsc::channel();
    let refuse = Fault::Refuse {
        status: 503,
        reason: "ServiceUnavailable".into(),
        message: "not now".into(),
    };
    // Taken from the end.
    let faults = vec![Fault::Hang, Fault::ApplyThenLose, Fault::LoseBefore, refuse];
    server.set_interceptor(Some(Box::new(Script { faults, commits })));
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("writer"));
    let params = PostParams {
        field_manager: Some("me".into()),
        ..PostParams::default()
    };

    assert_eq!(
        refusal(api.create(&params, &config_map("a", &[])).await.unwrap_err()),
        (503, "not now".into())
    );
    assert!(!matches!(
        api.create(&params, &config_map("b", &[])).await.unwrap_err(),
        kube::Error::Api(_)
    ));
    assert!(!matches!(
        api.create(&params, &config_map("c", &[])).await.unwrap_err(),
        kube::Error::Api(_)
    ));
    let hung = tokio::time::timeout(
        Duration::from_millis(20),
        api.create(&params, &config_map("d", &[])),
    )
    .await;
    assert!(hung.is_err());
    let names: Vec<_> = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|one| one.metadata.name)
        .collect();
    assert_eq!(names, ["c"], "only the write whose answer was lost has happened");
    assert_eq!(
        noted.try_iter().collect::<Vec<_>>(),
        ["Create ConfigMap c by writer as me"]
    );
    assert_eq!(server.request_counts().writes_by("writer"), 4);
    let counts = server.request_counts();
    assert!(
        counts
            .iter()
            .any(|row| row == ("writer", Verb::List, "configmaps", 1))
    );
}

#[tokio::test]
async fn the_same_over_http() {
    let server = server();
    let http = HttpServer::start(server.clone(), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let mut config = kube::Config::new(http.url().parse().unwrap());
    config.default_namespace = "default".into();
    let client = kube::Client::try_from(config).unwrap();
    let discovered = client.list_api_groups().await.unwrap();
    assert!(discovered.groups.iter().any(|group| group.name == "apps"));
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    api.create(&PostParams::default(), &config_map("over-http", &[]))
        .await
        .unwrap();
    let Some(WatchEvent::Added(added)) = events.try_next().await.unwrap() else {
        panic!("expected the object")
    };
    assert_eq!(added.metadata.name.as_deref(), Some("over-http"));
    assert!(
        server
            .inspect(|store| store.get("ConfigMap", "default", "over-http"))
            .is_some()
    );
}
