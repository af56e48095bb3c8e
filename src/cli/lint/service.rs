//! A Service that selects no pod of what is applied with it. Those that a Rollout names are judged with its release; of
//! the others it is a warning, since their pods may come from elsewhere.

use serde_json::{Map, Value};

use super::check::Finding;
use crate::api::names::HASH_LABEL;

/// Nothing where no workload is among the objects: then it is not known what there is to select.
pub fn warn_service(service: &Value, objects: &[&Value]) -> Option<Finding> {
    if text(service, "/apiVersion") != "v1" || text(service, "/kind") != "Service" {
        return None;
    }
    let selector = service.pointer("/spec/selector")?.as_object()?;
    let name = text(service, "/metadata/name");
    let namespace = text(service, "/metadata/namespace");
    let mut workloads = objects
        .iter()
        .copied()
        .filter_map(|object| Some((object, labels_of(object)?)))
        .peekable();
    workloads.peek()?;
    let is_served = workloads.any(|(workload, labels)| {
        text(workload, "/metadata/namespace") == namespace && selects(selector, labels)
    });
    if selector.is_empty() || is_served || objects.iter().any(|object| names(object, name)) {
        return None;
    }
    Some(Finding::warning(
        "spec.selector",
        "selects no pod of these manifests: requests to it reach nobody, unless its pods come from elsewhere",
    ))
}

/// Of the pods that it makes; nothing for what makes none.
fn labels_of(object: &Value) -> Option<&Value> {
    let template = match text(object, "/kind") {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "Rollout" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template",
        _ => return None,
    };
    object.pointer(&format!("{template}/metadata/labels"))
}

fn selects(selector: &Map<String, Value>, labels: &Value) -> bool {
    // Which version it is says the controller.
    let mut wanted = selector.iter().filter(|(key, _)| *key != HASH_LABEL);
    wanted.all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether it is a Service of this Rollout.
fn names(rollout: &Value, service: &str) -> bool {
    let fields = ["stableService", "canaryService"];
    let mut fields = fields
        .iter()
        .map(|field| format!("/spec/strategy/canary/{field}"));
    text(rollout, "/kind") == "Rollout" && fields.any(|field| text(rollout, &field) == service)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, selector: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": selector}})
    }

    #[test]
    fn a_service_without_pods_is_warned_of() {
        let labels = json!({"metadata": {"labels": {"app": "a", "tier": "web"}}});
        let rollout = json!({"kind": "Rollout", "spec": {
            "template": labels, "strategy": {"canary": {"stableService": "stable"}},
        }});
        let elsewhere = json!({"kind": "Deployment", "metadata": {"namespace": "other"}, "spec": {"template": {"metadata": {"labels": {"app": "b"}}}}});
        for (name, selector, warned) in [
            ("web", json!({"app": "a"}), false),
            ("web", json!({"app": "a", HASH_LABEL: "1"}), false),
            ("web", json!({"app": "a", "tier": "api"}), true),
            ("web", json!({"app": "b"}), true),
            ("web", json!({}), false),
            ("web", Value::Null, false),
            // Said of the Rollout.
            ("stable", json!({"app": "b"}), false),
        ] {
            let service = service(name, selector.clone());
            let found = warn_service(&service, &[&service, &rollout, &elsewhere]);
            assert_eq!(found.is_some(), warned, "{name} {selector}");
        }
        let service = service("web", json!({"app": "b"}));
        assert_eq!(warn_service(&service, &[&service]), None);
        assert_eq!(warn_service(&rollout, &[&rollout]), None);
    }
}
