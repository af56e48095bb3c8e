//! What clients learn about the server's kinds.

use serde_json::Value;

use crate::talk::{JSON, Talk};

fn sorted(list: &Value) -> Vec<String> {
    let mut words: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    words.sort();
    words
}

fn show_resources(talk: &mut Talk<'_>, list: &Value, chosen: impl Fn(&str) -> bool) {
    let resources = list["resources"].as_array().into_iter().flatten();
    let mut lines: Vec<_> = resources
        .filter(|resource| chosen(resource["name"].as_str().unwrap()))
        .map(|resource| {
            let words = ["name", "singularName", "kind", "namespaced", "group", "version"];
            let words = words.map(|field| resource[field].to_string());
            let lists = ["shortNames", "categories", "verbs"].map(|field| sorted(&resource[field]).join(","));
            format!("  {} {}", words.join(" "), lists.join(" "))
        })
        .collect();
    lines.sort();
    lines.into_iter().for_each(|line| talk.note(line));
}

pub async fn our_group(talk: &mut Talk<'_>) {
    let answer = talk.get("/apis/tidegate.dev/v1alpha1").await;
    talk.show(&answer, &["/kind", "/apiVersion", "/groupVersion"]);
    show_resources(talk, &answer.body, |_| true);
    let answer = talk.get("/apis/tidegate.dev").await;
    talk.show(&answer, &["/kind", "/name", "/versions", "/preferredVersion"]);
}

pub async fn groups(talk: &mut Talk<'_>) {
    let answer = talk.get("/apis").await;
    talk.show(&answer, &["/kind", "/apiVersion"]);
    let groups = answer.body["groups"].as_array().into_iter().flatten();
    let wanted = [
        "apps",
        "tidegate.dev",
        "networking.k8s.io",
        "discovery.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
    ];
    let mut names: Vec<_> = groups
        .filter_map(|group| group["name"].as_str())
        .filter(|name| wanted.contains(name))
        .collect();
    names.sort_unstable();
    talk.note(format!("  {names:?}"));
    let answer = talk.get("/api").await;
    talk.show(&answer, &["/kind", "/versions"]);
}

pub async fn core_subresources(talk: &mut Talk<'_>) {
    let answer = talk.get("/api/v1").await;
    let chosen = [
        "pods",
        "pods/status",
        "pods/binding",
        "pods/eviction",
        "services",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "nodes",
    ];
    show_resources(talk, &answer.body, |name| chosen.contains(&name));
    let answer = talk.get("/apis/apps/v1").await;
    let chosen = [
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "deployments",
    ];
    show_resources(talk, &answer.body, |name| chosen.contains(&name));
    for (path, chosen) in [
        ("/apis/networking.k8s.io/v1", "ingresses"),
        ("/apis/discovery.k8s.io/v1", "endpointslices"),
        ("/apis/coordination.k8s.io/v1", "leases"),
        ("/apis/events.k8s.io/v1", "events"),
    ] {
        let answer = talk.get(path).await;
        show_resources(talk, &answer.body, |name| name == chosen);
    }
}

pub async fn aggregated(talk: &mut Talk<'_>) {
    let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = talk.tell("GET", "/apis", form, "").await;
    talk.show(&answer, &["/kind"]);
}

pub async fn unknown_group(talk: &mut Talk<'_>) {
    for path in [
        "/apis/nothing.dev",
        "/apis/nothing.dev/v1",
        "/api/v2",
        "/apis/tidegate.dev/v9",
        "/nothing",
    ] {
        talk.tell("GET", path, JSON, "").await;
    }
}

pub async fn health(talk: &mut Talk<'_>) {
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = talk.get(path).await;
        talk.note(format!("  {}", answer.body));
    }
    let answer = talk.get("/version").await;
    talk.show(&answer, &["/major"]);
}

pub async fn open_api(talk: &mut Talk<'_>) {
    let answer = talk.get("/openapi/v3").await;
    let there = answer.body["paths"]["apis/tidegate.dev/v1alpha1"]["serverRelativeURL"].is_string();
    talk.note(format!("  ours: {there}"));
    let answer = talk.get("/openapi/v3/apis/tidegate.dev/v1alpha1").await;
    let schemas = answer.body["components"]["schemas"].as_object();
    let schemas = schemas.into_iter().flatten();
    let mut kinds: Vec<_> = schemas
        .filter_map(|(_, schema)| schema["x-kubernetes-group-version-kind"][0]["kind"].as_str())
        .filter(|kind| !kind.ends_with("List") && !["DeleteOptions", "Scale", "Status"].contains(kind))
        .collect();
    kinds.sort_unstable();
    talk.note(format!("  {kinds:?}"));
}
