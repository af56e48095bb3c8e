//! The objects of one set of manifests by name, and the references from ours to them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Required;
use super::check::Finding;
use crate::api::names::GROUP;

/// Kind, namespace (empty where none is written, or where the kind has none) and name.
pub type Key = (String, String, String);

/// The objects that references may lead to; none where several have the same name, as a base and its overlay do.
#[derive(Clone, Debug, Default)]
pub struct Catalogue<'a>(BTreeMap<Key, Option<&'a Value>>);

impl<'a> Catalogue<'a> {
    pub fn of(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let key = |object: &Value| {
            let kind = object.get("kind")?.as_str()?;
            let name = object.pointer("/metadata/name")?.as_str()?;
            Some((kind.to_owned(), namespace_of(kind, object), name.to_owned()))
        };
        let mut found: BTreeMap<Key, Option<&Value>> = BTreeMap::new();
        for object in objects.into_iter().filter(|object| is_meant(object)) {
            let Some(key) = key(object) else { continue };
            let entry = found.entry(key).or_insert(Some(object));
            *entry = entry.filter(|first| *first == object);
        }
        Catalogue(found)
    }

    /// What an object of ours means by this name.
    pub fn get(&self, from: &Value, kind: &str, name: &str) -> Option<&'a Value> {
        self.find(from, kind, name).copied().flatten()
    }

    fn find(&self, from: &Value, kind: &str, name: &str) -> Option<&Option<&'a Value>> {
        let key = (kind.to_owned(), namespace_of(kind, from), name.to_owned());
        self.0.get(&key)
    }

    /// One finding for each reference that leads nowhere.
    pub fn find_missing(&self, object: &Value, required: Required) -> Vec<Finding> {
        let place = match required {
            Required::Nowhere => return Vec::new(),
            Required::Here => "not in the manifests",
            Required::Somewhere => "neither in the manifests nor in the cluster",
        };
        let missing = self.missing(object).into_iter();
        missing
            .map(|(path, kind, name)| Finding::error(path, format!("{kind} {name:?} is {place}")))
            .collect()
    }

    /// What an object of ours names and is not here.
    pub fn wanted(&self, object: &Value) -> Vec<Key> {
        let missing = self.missing(object).into_iter();
        missing
            .map(|(_, kind, name)| (kind.to_owned(), namespace_of(kind, object), name))
            .collect()
    }

    fn missing(&self, object: &Value) -> Found {
        let mut found = references(object);
        found.retain(|(_, kind, name)| self.find(object, kind, name).is_none());
        found
    }
}

pub const CLUSTER_TEMPLATE: &str = "ClusterAnalysisTemplate";

fn namespace_of(kind: &str, object: &Value) -> String {
    let written = object.pointer("/metadata/namespace").and_then(Value::as_str);
    written
        .filter(|_| kind != CLUSTER_TEMPLATE)
        .unwrap_or_default()
        .to_owned()
}

/// Path, kind and name of everything that an object names.
fn references(object: &Value) -> Found {
    let mut found = Vec::new();
    match object.get("kind").and_then(Value::as_str) {
        Some("Rollout") => rollout_references(object, &mut found),
        Some("AnalysisTemplate" | CLUSTER_TEMPLATE) => {
            template_references(object, "spec.templates", &mut found)
        }
        _ => {}
    }
    found
}

type Found = Vec<(String, &'static str, String)>;

fn rollout_references(rollout: &Value, found: &mut Found) {
    let canary = "spec.strategy.canary";
    for (field, kind) in [
        ("stableService", "Service"),
        ("canaryService", "Service"),
        ("trafficRouting.nginx.stableIngress", "Ingress"),
    ] {
        push(rollout, format!("{canary}.{field}"), kind, found);
    }
    for index in 0..length(rollout, &format!("{canary}.trafficRouting.nginx.stableIngresses")) {
        push(
            rollout,
            format!("{canary}.trafficRouting.nginx.stableIngresses[{index}]"),
            "Ingress",
            found,
        );
    }
    for index in 0..length(rollout, &format!("{canary}.trafficRouting.gatewayAPI.httpRoutes")) {
        push(
            rollout,
            format!("{canary}.trafficRouting.gatewayAPI.httpRoutes[{index}].name"),
            "HTTPRoute",
            found,
        );
    }
    template_references(rollout, &format!("{canary}.analysis.templates"), found);
    template_references(rollout, &format!("{canary}.bake.analysis.templates"), found);
    for index in 0..length(rollout, &format!("{canary}.steps")) {
        template_references(
            rollout,
            &format!("{canary}.steps[{index}].analysis.templates"),
            found,
        );
    }
}

fn template_references(object: &Value, list: &str, found: &mut Found) {
    for index in 0..length(object, list) {
        let item = format!("{list}[{index}]");
        let cluster = at(object, &format!("{item}.clusterScope")).and_then(Value::as_bool);
        let kind = template_kind(cluster);
        push(object, format!("{item}.templateName"), kind, found);
    }
}

/// Other groups have kinds of these names, too.
fn is_meant(object: &Value) -> bool {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = match text("kind") {
        "Service" => return text("apiVersion") == "v1",
        "Ingress" => "networking.k8s.io/",
        "HTTPRoute" => "gateway.networking.k8s.io/",
        _ => GROUP,
    };
    text("apiVersion").starts_with(group)
}

pub fn template_kind(cluster_scope: Option<bool>) -> &'static str {
    match cluster_scope {
        Some(true) => CLUSTER_TEMPLATE,
        _ => "AnalysisTemplate",
    }
}

fn push(object: &Value, path: String, kind: &'static str, found: &mut Found) {
    if let Some(name) = at(object, &path).and_then(Value::as_str) {
        found.push((path.clone(), kind, name.to_owned()));
    }
}

fn length(object: &Value, path: &str) -> usize {
    at(object, path).and_then(Value::as_array).map_or(0, Vec::len)
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    object.pointer(&format!("/{}", path.replace(['.', '['], "/").replace(']', "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_leads_nowhere() {
        let rollout = json!({"kind": "Rollout", "metadata": {"name": "a", "namespace": "shop"}, "spec": {"strategy": {"canary": {
            "stableService": "a-stable", "canaryService": "a-canary",
            "trafficRouting": {"nginx": {"stableIngresses": ["a"]}},
            "steps": [{"setWeight": 5}, {"analysis": {"templates": [{"templateName": "t"}, {"templateName": "c", "clusterScope": true}]}}],
        }}}});
        let object = |kind: &str, namespace: &str, name: &str| {
            let api_version = match kind {
                "Service" => "v1",
                "Ingress" => "networking.k8s.io/v1",
                _ => "tidegate.dev/v1alpha1",
            };
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
        };
        let mut knative = object("Service", "shop", "a-canary");
        knative["apiVersion"] = json!("serving.knative.dev/v1");
        let others = [
            knative,
            object("Service", "shop", "a-stable"),
            object("Service", "elsewhere", "a-canary"),
            object("Ingress", "shop", "a"),
            object(CLUSTER_TEMPLATE, "", "c"),
        ];
        let missing = Catalogue::of(others.iter().chain([&rollout])).find_missing(&rollout, Required::Here);
        let paths: Vec<_> = missing.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.strategy.canary.canaryService",
                "spec.strategy.canary.steps[1].analysis.templates[0].templateName"
            ]
        );
    }
}
