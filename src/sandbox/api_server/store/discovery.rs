//! What is served: `/api`, `/apis`, the resource lists, `/version`, and as much OpenAPI as kubectl insists on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::registry::{Registry, Resource};
use super::request::ApiRequest;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

pub(super) fn answer(registry: &Registry, request: &ApiRequest) -> Result<Body, Refusal> {
    let segments: Vec<&str> = request
        .path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let found = match segments.as_slice() {
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => Some(groups(registry)),
        ["apis", group] => group_entry(registry, group),
        ["api", version] => resources(registry, "", version),
        ["apis", group, version] => resources(registry, group, version),
        ["version"] => Some(version()),
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["openapi", "v3"] => Some(open_api_index(registry)),
        ["openapi", "v3", "api", version] => open_api(registry, "", version),
        ["openapi", "v3", "apis", group, version] => open_api(registry, group, version),
        _ => None,
    };
    found.map(Body::from).ok_or_else(Refusal::no_such_path)
}

/// The version whose behaviour is followed.
fn version() -> Value {
    json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0+sandbox", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-04-23T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64"})
}

/// Groups other than the core one, with their versions.
fn versions(registry: &Registry) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for resource in registry.iter().filter(|resource| !resource.group.is_empty()) {
        versions
            .entry(&resource.group)
            .or_default()
            .insert(&resource.version);
    }
    versions
}

fn group_value(group: &str, versions: &BTreeSet<&str>) -> Value {
    let listed: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": listed.last(), "versions": listed})
}

fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = versions(registry)
        .into_iter()
        .map(|(group, versions)| group_value(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_entry(registry: &Registry, group: &str) -> Option<Value> {
    let mut entry = group_value(group, versions(registry).get(group)?);
    let fields = entry.as_object_mut()?;
    fields.insert("kind".to_owned(), json!("APIGroup"));
    fields.insert("apiVersion".to_owned(), json!("v1"));
    Some(entry)
}

fn served<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Resource> {
    let all = registry.iter().map(AsRef::as_ref);
    all.filter(|resource| resource.group == group && resource.version == version)
        .collect()
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served = served(registry, group, version);
    if served.is_empty() {
        return None;
    }
    let listed: Vec<Value> = served.into_iter().flat_map(entries).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version(group, version), "resources": listed,
    }))
}

/// A resource and its subresources.
fn entries(resource: &Resource) -> Vec<Value> {
    let is_review = resource.kind.ends_with("Review");
    let mut entries = vec![json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "shortNames": resource.short_names, "categories": resource.categories,
        "verbs": if is_review { &["create"][..] } else { &VERBS[..] },
    })];
    let verbs = json!(["get", "patch", "update"]);
    if resource.has_status {
        entries.push(
            json!({"name": format!("{}/status", resource.plural), "singularName": "",
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs}),
        );
    }
    if resource.kind == "Pod" {
        entries.push(
            json!({"name": "pods/binding", "singularName": "", "namespaced": true, "kind": "Binding",
            "verbs": ["create"]}),
        );
        entries.push(
            json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "kind": "Eviction",
            "group": "policy", "version": "v1", "verbs": ["create"]}),
        );
    }
    if resource.scale.is_some() {
        entries.push(
            json!({"name": format!("{}/scale", resource.plural), "singularName": "",
            "namespaced": resource.namespaced, "kind": "Scale", "group": "autoscaling", "version": "v1",
            "verbs": verbs}),
        );
    }
    entries
}

fn open_api_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn open_api_index(registry: &Registry) -> Value {
    let paths: BTreeMap<String, Value> = registry
        .iter()
        .map(|resource| {
            let path = open_api_path(&resource.group, &resource.version);
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
            (path, url)
        })
        .collect();
    json!({"paths": paths})
}

/// kubectl only validates on the server when it finds `fieldValidation` among a PATCH's parameters.
fn open_api(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served = served(registry, group, version);
    if served.is_empty() {
        return None;
    }
    let root = open_api_path(group, version);
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let mut paths = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for resource in served {
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let inside = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let operation = json!({
            "parameters": [parameter("fieldValidation"), parameter("dryRun"), parameter("fieldManager")],
            "responses": {}, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(
            format!("/{root}/{inside}{}/{{name}}", resource.plural),
            json!({"patch": operation}),
        );
        let mut schema = resource
            .schema()
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"}));
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("x-kubernetes-group-version-kind".to_owned(), json!([kind]));
        }
        schemas.insert(format!("{group}.{version}.{}", resource.kind), schema);
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0+sandbox"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}
