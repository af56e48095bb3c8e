//! What the manifests together would do wrong when the Rollout is released. The planner says it, of a snapshot that
//! holds what is among the manifests; of the rest nothing is known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::check::{Finding, Severity, check};
use super::reference::{Catalogue, template_kind};
use crate::api::names::API_VERSION;
use crate::api::rollout::TemplateRef;
use crate::plan::needs::{Needs, needs};
use crate::plan::preflight::find_obstacles;
use crate::plan::snapshot::{ObservedRoutes, ServiceSeen, Snapshot, TemplateSeen};

/// Where the findings about other objects are placed.
const STRATEGY: &str = "spec.strategy.canary";
/// Said of every template that is not among the manifests, or that has findings of its own.
const UNKNOWN_TEMPLATE: &str = "TemplateNotFound";

/// Nothing for objects other than Rollouts.
pub fn check_release(object: &Value, catalogue: &Catalogue) -> Vec<Finding> {
    let text = |key| object.get(key).and_then(Value::as_str);
    if (text("apiVersion"), text("kind")) != (Some(API_VERSION), Some("Rollout")) {
        return Vec::new();
    }
    let needs = needs(object);
    let obstacles = find_obstacles(&snapshot(object, &needs, catalogue)).into_iter();
    let obstacles = obstacles.filter(|problem| problem.reason != UNKNOWN_TEMPLATE);
    let mut findings: Vec<Finding> = obstacles.map(|problem| place(&problem.text)).collect();
    let services = needs.services.iter();
    let services = services.filter_map(|name| Some((name, catalogue.get(object, "Service", name)?)));
    findings.extend(services.flat_map(|(name, service)| check_target_ports(name, service, object)));
    findings
}

/// What begins with a field of the Rollout is placed there.
fn place(problem: &str) -> Finding {
    match problem.split_once(": ") {
        Some((path, message)) if path.starts_with("spec.") => Finding::error(path, message),
        _ => Finding::error(STRATEGY, problem),
    }
}

fn snapshot(rollout: &Value, needs: &Needs, catalogue: &Catalogue) -> Snapshot {
    let routes = |kind, names: &BTreeSet<String>| {
        let found = names
            .iter()
            .filter_map(|name| Some((name.clone(), Some(catalogue.get(rollout, kind, name)?.clone()))));
        found.collect::<BTreeMap<String, Option<Value>>>()
    };
    let services = routes("Service", &needs.services).into_iter();
    Snapshot {
        rollout: in_a_namespace(rollout),
        services: services
            .map(|(name, service)| (name, service.as_ref().map(ServiceSeen::read)))
            .collect(),
        routes: ObservedRoutes {
            ingresses: routes("Ingress", &needs.ingresses),
            http_routes: routes("HTTPRoute", &needs.http_routes),
        },
        templates: templates(rollout, &needs.templates, catalogue),
        ..Snapshot::default()
    }
}

/// Which one it is applied to is not known, but that there is one: an argument may be its name.
fn in_a_namespace(rollout: &Value) -> Value {
    let mut rollout = rollout.clone();
    if let Some(metadata) = rollout.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata
            .entry("namespace")
            .or_insert_with(|| Value::from("default"));
    }
    rollout
}

/// The templates that the Rollout names, and those that they name in turn; only those without a finding of their own.
fn templates(rollout: &Value, named: &[TemplateRef], catalogue: &Catalogue) -> Vec<TemplateSeen> {
    let mut pending: Vec<TemplateRef> = named.to_vec();
    let mut seen: Vec<TemplateSeen> = Vec::new();
    while let Some(reference) = pending.pop() {
        if seen.iter().any(|known| known.reference == reference) {
            continue;
        }
        let kind = template_kind(reference.cluster_scope);
        let template = catalogue.get(rollout, kind, &reference.template_name);
        let is_sound = |template: &&Value| {
            check(template)
                .iter()
                .all(|finding| finding.severity != Severity::Error)
        };
        let spec = template
            .filter(is_sound)
            .and_then(|template| template.get("spec"));
        let seen_as = TemplateSeen {
            spec: spec.and_then(|spec| serde_json::from_value(spec.clone()).ok()),
            reference,
            problem: None,
        };
        pending.extend(
            seen_as
                .spec
                .iter()
                .flat_map(|spec| spec.templates.iter().cloned()),
        );
        seen.push(seen_as);
    }
    seen
}

/// A Service none of whose ports a pod has by name finds nobody. One that is not declared may still be meant, such as that
/// of a sidecar which is put in later, and seldom is.
fn check_target_ports(name: &str, service: &Value, rollout: &Value) -> Vec<Finding> {
    let containers = ["containers", "initContainers"].map(|list| format!("/spec/template/spec/{list}"));
    let containers = containers.iter().flat_map(|path| list(rollout, path));
    let declared: Vec<&Value> = containers
        .flat_map(|container| list(container, "/ports"))
        .collect();
    let has = |target: &Value| {
        let key = if target.is_string() {
            "name"
        } else {
            "containerPort"
        };
        declared.iter().any(|port| port.get(key) == Some(target))
    };
    let targets = list(service, "/spec/ports").filter_map(|port| port.get("targetPort").or(port.get("port")));
    let targets: Vec<&Value> = targets.collect();
    let undeclared = targets.iter().enumerate().filter(|(_, target)| !has(target));
    if !targets.is_empty() && targets.iter().all(|target| target.is_string() && !has(target)) {
        let message = format!(
            "Service {name}: spec.ports[].targetPort: no container of spec.template has a port of such a name, so it would find no pod"
        );
        return vec![Finding::error(STRATEGY, message)];
    }
    undeclared
        .filter(|(_, target)| target.is_string() || !declared.is_empty())
        .map(|(index, target)| {
            let field = format!("Service {name}: spec.ports[{index}].targetPort");
            let message = format!("{field}: no container of spec.template declares port {target}");
            Finding::warning(STRATEGY, message)
        })
        .collect()
}

fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    let list = object.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout() -> Value {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "checkout"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "checkout"}},
                "template": {
                    "metadata": {"labels": {"app": "checkout"}},
                    "spec": {"containers": [{
                        "name": "app", "image": "checkout:v1", "ports": [{"name": "http", "containerPort": 8080}],
                    }]},
                },
                "strategy": {"canary": {
                    "stableService": "stable", "canaryService": "canary",
                    "trafficRouting": {"nginx": {"stableIngress": "web"}},
                    "steps": [{"setWeight": 10}, {"analysis": {
                        "templates": [{"templateName": "errors"}], "args": [{"name": "limit", "value": "0.01"}],
                    }}],
                }},
            },
        })
    }

    fn service(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "checkout"}, "ports": [{"port": 80, "targetPort": "http"}]},
        })
    }

    fn ingress() -> Value {
        let backend = json!({"service": {"name": "stable", "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [{"http": {"paths": paths}}]}})
    }

    fn template() -> Value {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "errors"},
            "spec": {"args": [{"name": "limit"}], "metrics": [{
                "name": "errors", "successCondition": "result[0] < {{args.limit}}",
                "provider": {"prometheus": {"query": "sum(rate(errors[1m]))"}},
            }]},
        })
    }

    fn found(change: impl FnOnce(&mut [Value; 5])) -> Vec<String> {
        let mut objects = [
            rollout(),
            service("stable"),
            service("canary"),
            ingress(),
            template(),
        ];
        change(&mut objects);
        let findings = check_release(&objects[0], &Catalogue::of(&objects));
        let show = |finding: Finding| format!("{:?} {}: {}", finding.severity, finding.path, finding.message);
        findings.into_iter().map(show).collect()
    }

    #[test]
    fn manifests_that_fit_have_no_findings() {
        assert_eq!(found(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn what_would_hold_the_release_is_said_before() {
        let analysis = "Error spec.strategy.canary.steps[1].analysis: ";
        let canary = "Error spec.strategy.canary: ";
        type Change = fn(&mut [Value; 5]);
        let cases: [(Change, String); 8] = [
            (
                |all| all[0]["spec"]["strategy"]["canary"]["steps"][1]["analysis"]["args"] = json!([]),
                format!("{analysis}argument \"limit\" has no value"),
            ),
            (
                |all| {
                    all[0]["spec"]["strategy"]["canary"]["steps"][1]["analysis"]["args"][0]["name"] =
                        json!("limt")
                },
                format!("{analysis}argument \"limt\" is given, but no template has it"),
            ),
            (
                |all| {
                    all[3]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] =
                        json!("other");
                },
                format!("{canary}Ingress web: spec.rules: no rule leads to the stable Service stable"),
            ),
            (
                |all| all[2]["spec"]["selector"]["app"] = json!("chekout"),
                format!("{canary}Service canary: spec.selector app=chekout selects no pod of this Rollout"),
            ),
            (
                |all| all[2]["spec"]["ports"][0]["port"] = json!(8000),
                format!("{canary}Service canary: it has no port 80, to which Ingress web leads"),
            ),
            (
                |all| all[1]["spec"]["ports"][0]["targetPort"] = json!("web"),
                format!(
                    "{canary}Service stable: spec.ports[].targetPort: no container of spec.template has a port"
                ),
            ),
            (
                |all| {
                    all[1]["spec"]["ports"] =
                        json!([{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": "metrics"}])
                },
                "Warning spec.strategy.canary: Service stable: spec.ports[1].targetPort: no container"
                    .to_owned(),
            ),
            (
                |all| all[1]["spec"]["ports"][0]["targetPort"] = json!(9090),
                "Warning spec.strategy.canary: Service stable: spec.ports[0].targetPort: no container"
                    .to_owned(),
            ),
        ];
        for (change, expected) in cases {
            let found = found(change);
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{expected}: {found:?}"
            );
        }
    }

    /// Missing objects are for `--require-references`, and a faulty template has findings of its own.
    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let rename: fn(&mut [Value; 5]) = |all| {
            for object in &mut all[1..] {
                object["metadata"]["name"] = json!("other");
            }
        };
        assert_eq!(found(rename), Vec::<String>::new());
        let overlay: fn(&mut [Value; 5]) = |all| {
            all[2] = all[3].clone();
            all[2]["spec"] = json!({"tls": []});
        };
        assert_eq!(found(overlay), Vec::<String>::new());
        let spoil: fn(&mut [Value; 5]) =
            |all| all[4]["spec"]["metrics"][0]["successCondition"] = json!("len(");
        assert_eq!(found(spoil), Vec::<String>::new());
    }
}
