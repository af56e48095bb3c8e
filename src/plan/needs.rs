//! What a Rollout names, read leniently from its raw form, so that a spec that is wrong elsewhere is still
//! observed. Whether the names make sense is for `validate` to say.
//!
//! Guarantee: routing that was set up is named until it is taken back, whatever the spec says by then.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::resource::Resource;
use crate::api::rollout::{CanaryStrategy, TemplateRef, TrafficRouting};
use crate::routers::{self, RouteNames};

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
    let routes = routes(rollout, &[ROUTING_ASKED_FOR, ROUTING_IN_USE]);
    let services = services(rollout, &[&SERVICES_ASKED_FOR[..], &SERVICES_IN_USE].concat());
    let in_progress = !is_at_rest(rollout);
    Needs {
        in_progress,
        endpoints: in_progress && !services.is_empty(),
        ingresses: usable(routes.ingresses),
        http_routes: usable(routes.http_routes),
        templates: canary.map(templates).unwrap_or_default(),
        services,
    }
}

/// What the spec alone names. What is only remembered is on its way back to its user, and is no claim on it.
pub fn asked_for(rollout: &Value) -> Needs {
    let routes = routes(rollout, &[ROUTING_ASKED_FOR]);
    Needs {
        services: services(rollout, &SERVICES_ASKED_FOR),
        ingresses: usable(routes.ingresses),
        http_routes: usable(routes.http_routes),
        ..Needs::default()
    }
}

const ROUTING_ASKED_FOR: &str = "/spec/strategy/canary/trafficRouting";
/// The spec may no longer name it.
const ROUTING_IN_USE: &str = "/status/canary/routing/trafficRouting";
const SERVICES_ASKED_FOR: [&str; 2] = [
    "/spec/strategy/canary/canaryService",
    "/spec/strategy/canary/stableService",
];
/// Those of the routing in use, and those the last weights were for.
const SERVICES_IN_USE: [&str; 4] = [
    "/status/canary/routing/canaryService",
    "/status/canary/routing/stableService",
    "/status/canary/weights/canary/serviceName",
    "/status/canary/weights/stable/serviceName",
];

fn routes(rollout: &Value, places: &[&str]) -> RouteNames {
    let mut names = RouteNames::default();
    for routing in places.iter().filter_map(|place| rollout.pointer(place)) {
        let more = routers::names_to_observe(&read_routing(routing), text(rollout, "/metadata/name"));
        names.ingresses.extend(more.ingresses);
        names.http_routes.extend(more.http_routes);
    }
    names
}

fn services(rollout: &Value, places: &[&str]) -> BTreeSet<String> {
    usable(
        places
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
        assert!(needs.endpoints);
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
    fn routing_in_use_is_named_until_it_is_taken_back() {
        let mut rollout = rollout();
        rollout["status"]["canary"]["routing"] = json!({
            "stableService": "old-stable", "canaryService": "old-canary",
            "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
        });
        let changed = needs(&rollout);
        let services = ["canary", "old-canary", "old-stable", "stable"].map(str::to_owned);
        assert_eq!(changed.services, services.into());
        assert_eq!(changed.http_routes, ["web".to_owned()].into());
        assert!(changed.ingresses.contains("web") && changed.ingresses.len() == 2);
        let canary = rollout
            .pointer_mut("/spec/strategy/canary")
            .and_then(Value::as_object_mut)
            .unwrap();
        canary.remove("trafficRouting");
        let removed = needs(&rollout);
        assert!(removed.ingresses.is_empty());
        assert_eq!(removed.http_routes, ["web".to_owned()].into());
    }
}
