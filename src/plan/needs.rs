//! What a Rollout names, read leniently from its raw form, so that a spec that is wrong elsewhere is still
//! observed. Whether the names make sense is for `validate` to say.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::names::FINALIZER;
use crate::api::resource::Resource;
use crate::api::rollout::{CanaryStrategy, TemplateRef, TrafficRouting};
use crate::routers;

/// Names of what one Rollout depends on; all are of its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub services: BTreeSet<String>,
    /// Stable Ingresses, and the canary Ingresses we keep beside them.
    pub ingresses: BTreeSet<String>,
    pub http_routes: BTreeSet<String>,
    /// Without those that templates name in turn.
    pub templates: Vec<TemplateRef>,
    /// Something is in progress or not verified yet.
    pub in_progress: bool,
    /// A decision depends on which pods stand behind the Services.
    pub endpoints: bool,
    /// Routing was taken out of the spec and not yet out of the cluster: what to restore is no longer named.
    pub left_behind: bool,
}

impl Needs {
    /// Objects that are watched only because some Rollout names them.
    pub fn named(&self) -> impl Iterator<Item = (Resource, &str)> {
        fn of(resource: Resource, names: &BTreeSet<String>) -> impl Iterator<Item = (Resource, &str)> {
            names.iter().map(move |name| (resource, name.as_str()))
        }
        of(Resource::Service, &self.services)
            .chain(of(Resource::Ingress, &self.ingresses))
            .chain(of(Resource::HttpRoute, &self.http_routes))
    }
}

pub fn needs(rollout: &Value) -> Needs {
    let canary = rollout.pointer("/spec/strategy/canary");
    let name = text(rollout, "/metadata/name");
    let routing = canary
        .and_then(|canary| canary.get("trafficRouting"))
        .map(read_routing);
    let routes = routing
        .as_ref()
        .map(|routing| routers::names_to_observe(routing, name))
        .unwrap_or_default();
    let services = services(rollout);
    let in_progress = !is_at_rest(rollout);
    Needs {
        in_progress,
        endpoints: in_progress && !services.is_empty(),
        left_behind: routing.is_none() && has_finalizer(rollout),
        ingresses: usable(routes.ingresses),
        http_routes: usable(routes.http_routes),
        templates: canary.map(templates).unwrap_or_default(),
        services,
    }
}

/// Services of the spec, and those the last weights were for.
fn services(rollout: &Value) -> BTreeSet<String> {
    let names = [
        "/spec/strategy/canary/canaryService",
        "/spec/strategy/canary/stableService",
        "/status/canary/weights/canary/serviceName",
        "/status/canary/weights/stable/serviceName",
    ];
    usable(
        names
            .iter()
            .map(|pointer| text(rollout, pointer).to_owned())
            .collect(),
    )
}

/// A name that could not be a name would make a path of its own; `validate` says what is wrong with it.
fn usable(names: BTreeSet<String>) -> BTreeSet<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let is_name = |name: &String| {
        !name.is_empty() && name.len() <= 253 && name.bytes().all(plain) && !name.starts_with('.')
    };
    names.into_iter().filter(is_name).collect()
}

fn read_routing(routing: &Value) -> TrafficRouting {
    TrafficRouting {
        nginx: routing.get("nginx").and_then(read),
        gateway_api: routing.get("gatewayAPI").and_then(read),
        ..TrafficRouting::default()
    }
}

/// Templates of steps, background analysis and bake, each once, in the order written.
fn templates(canary: &Value) -> Vec<TemplateRef> {
    let strategy: CanaryStrategy = CanaryStrategy {
        steps: canary.get("steps").and_then(read).unwrap_or_default(),
        analysis: canary.get("analysis").and_then(read),
        bake: canary.get("bake").and_then(read),
        ..CanaryStrategy::default()
    };
    let steps = strategy.steps.into_iter().filter_map(|step| step.analysis);
    let background = strategy.analysis.map(|background| background.analysis);
    let bake = strategy.bake.and_then(|bake| bake.analysis);
    let all = steps
        .chain(background)
        .chain(bake)
        .flat_map(|analysis| analysis.templates);
    let mut unique = Vec::new();
    for template in all {
        if !unique.contains(&template) && !usable([template.template_name.clone()].into()).is_empty() {
            unique.push(template);
        }
    }
    unique
}

/// Healthy, verified, and nothing new in the spec.
fn is_at_rest(rollout: &Value) -> bool {
    let same = |left: &str, right: &str| match (rollout.pointer(left), rollout.pointer(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    };
    text(rollout, "/status/phase") == "Healthy"
        && same("/status/observedGeneration", "/metadata/generation")
        && same("/status/currentPodHash", "/status/stableRS")
        && rollout
            .pointer("/status/canary/weights")
            .is_none_or(|weights| weights.get("verified") == Some(&Value::Bool(true)))
}

fn has_finalizer(rollout: &Value) -> bool {
    let finalizers = rollout.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout() -> Value {
        json!({
            "metadata": {"name": "checkout", "namespace": "shop", "generation": 2},
            "spec": {"strategy": {"canary": {
                "stableService": "stable", "canaryService": "canary",
                "trafficRouting": {"nginx": {"stableIngress": "web"}, "unknown": 1},
                "analysis": {"templates": [{"templateName": "errors"}]},
                "steps": [
                    {"setWeight": 10},
                    {"analysis": {"templates": [{"templateName": "latency"}, {"templateName": "errors"}]}},
                ],
            }}},
        })
    }

    #[test]
    fn names_come_from_every_place_once() {
        let needs = needs(&rollout());
        assert_eq!(needs.services, ["canary".to_owned(), "stable".to_owned()].into());
        assert!(needs.ingresses.contains("web") && needs.ingresses.len() == 2);
        assert!(needs.http_routes.is_empty());
        let templates: Vec<&str> = needs
            .templates
            .iter()
            .map(|template| template.template_name.as_str())
            .collect();
        assert_eq!(templates, ["latency", "errors"]);
        assert!(needs.endpoints && !needs.left_behind);
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let mut odd = rollout();
        odd["spec"]["strategy"]["canary"] = json!({
            "stableService": 7, "canaryService": "../secrets", "trafficRouting": "yes", "steps": {"a": 1},
        });
        let nothing = Needs {
            in_progress: true,
            ..Needs::default()
        };
        assert_eq!(needs(&odd), nothing);
    }

    #[test]
    fn endpoints_matter_until_everything_is_at_rest() {
        let at_rest = json!({
            "phase": "Healthy", "observedGeneration": 2, "currentPodHash": "a", "stableRS": "a",
            "canary": {"weights": {"verified": true}},
        });
        let endpoints = |pointer: &str, value: Value| {
            let mut rollout = rollout();
            rollout["status"] = at_rest.clone();
            if let Some(field) = rollout.pointer_mut(pointer) {
                *field = value;
            }
            needs(&rollout).endpoints
        };
        for (pointer, value, needed) in [
            ("/status/phase", json!("Healthy"), false),
            ("/status/phase", json!("Progressing"), true),
            ("/status/observedGeneration", json!(1), true),
            ("/status/currentPodHash", json!("b"), true),
            ("/status/canary/weights/verified", json!(false), true),
        ] {
            assert_eq!(endpoints(pointer, value), needed, "{pointer}");
        }
    }

    #[test]
    fn a_finalizer_without_routing_is_left_behind() {
        let mut rollout = rollout();
        rollout["metadata"]["finalizers"] = json!([FINALIZER]);
        assert!(!needs(&rollout).left_behind);
        let canary = rollout
            .pointer_mut("/spec/strategy/canary")
            .and_then(Value::as_object_mut)
            .unwrap();
        canary.remove("trafficRouting");
        assert!(needs(&rollout).left_behind);
    }
}
