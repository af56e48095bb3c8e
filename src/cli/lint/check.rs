//! What is wrong with one object, or is likely to hurt: what the controller holds against it, what the API server's
//! schema says beyond that, and pitfalls that no rule forbids.

use std::collections::BTreeSet;

use serde_json::Value;

use super::metric::check_metrics;
use crate::api::argo::unsupported_fields;
use crate::api::crd::schema_of;
use crate::api::names::{API_VERSION, GROUP};
use crate::api::schema::{complete, prune, validate};
use crate::plan::validate::{Violation, validate_rollout, validate_template};
use crate::view::warning::warn;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub path: String,
    pub message: String,
}

impl Finding {
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            path: path.into(),
            message: message.into(),
        }
    }

    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Warning,
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Nothing for objects that are not ours.
pub fn check(object: &Value) -> Vec<Finding> {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match api_version.split_once('/') {
        _ if !object.is_object() => vec![Finding::error(
            "",
            "not an object: a manifest has apiVersion, kind and metadata",
        )],
        Some(("argoproj.io", _)) if kind == "Rollout" => vec![Finding::warning(
            "apiVersion",
            format!(
                "not checked: this is a Rollout of Argo Rollouts; make it {API_VERSION} to use it with Tidegate"
            ),
        )],
        Some((GROUP, _)) if api_version != API_VERSION => {
            vec![Finding::error(
                "apiVersion",
                format!("{api_version} is not known; this version knows {API_VERSION}"),
            )]
        }
        Some((GROUP, _)) => check_ours(kind, object),
        _ => vec![],
    }
}

fn check_ours(kind: &str, object: &Value) -> Vec<Finding> {
    let schema = match schema_of(kind) {
        Ok(Some(schema)) => schema,
        Ok(None) => {
            return vec![Finding::error(
                "kind",
                format!("{kind:?} is not a kind of {API_VERSION}"),
            )];
        }
        Err(error) => return vec![Finding::error("", error.to_string())],
    };
    let mut findings = check_as_planner(kind, object);
    let judged: BTreeSet<String> = findings.iter().map(|finding| finding.path.clone()).collect();
    // The planner looks into the spec alone, and says it better where both object.
    let of_schema = check_as_server(&schema, object).into_iter();
    findings.extend(of_schema.filter(|finding| !judged.contains(&finding.path)));
    if kind == "Rollout" {
        findings.extend(find_pitfalls(object));
    }
    findings
}

/// What the controller would hold against the object.
fn check_as_planner(kind: &str, object: &Value) -> Vec<Finding> {
    let violations = match kind {
        "Rollout" => validate_rollout(object).err().unwrap_or_default(),
        "AnalysisTemplate" | "ClusterAnalysisTemplate" => validate_template(object).err().unwrap_or_default(),
        "AnalysisRun" => return [unsupported(kind, object), check_metrics(object)].concat(),
        _ => return vec![],
    };
    let mut findings: Vec<_> = violations.into_iter().map(of_violation).collect();
    if kind != "Rollout" {
        let judged: BTreeSet<String> = findings.iter().map(|finding| finding.path.clone()).collect();
        let of_texts = check_metrics(object).into_iter();
        findings.extend(of_texts.filter(|finding| !judged.contains(&finding.path)));
    }
    findings
}

fn unsupported(kind: &str, object: &Value) -> Vec<Finding> {
    let found = unsupported_fields(kind, object).into_iter();
    found
        .map(|field| Finding::error(field.path, field.message))
        .collect()
}

fn of_violation(violation: Violation) -> Finding {
    let fix = violation.fix.map(|fix| format!("; {fix}")).unwrap_or_default();
    Finding::error(violation.path, violation.message + &fix)
}

/// What an API server with our CRDs would refuse, and what it would drop without a word.
fn check_as_server(schema: &Value, object: &Value) -> Vec<Finding> {
    let mut object = object.clone();
    complete(schema, &mut object);
    let mut findings: Vec<_> = validate(schema, &object)
        .into_iter()
        .map(|found| Finding::error(found.field.clone(), found.message()))
        .collect();
    let unknown = prune(schema, &mut object);
    findings.extend(
        unknown
            .into_iter()
            .map(|path| Finding::error(path.as_str(), "unknown field")),
    );
    let name = object
        .pointer("/metadata/name")
        .or_else(|| object.pointer("/metadata/generateName"));
    if name.and_then(Value::as_str).is_none_or(str::is_empty) {
        findings.push(Finding::error(
            "metadata.name",
            "is missing: every object needs a name",
        ));
    }
    findings
}

/// What works and then hurts.
fn find_pitfalls(rollout: &Value) -> Vec<Finding> {
    let warnings = warn(rollout).into_iter();
    warnings
        .map(|warning| Finding::warning(warning.path, warning.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout() -> Value {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "checkout"},
            "spec": {
                "replicas": 2, "drainSeconds": 5,
                "selector": {"matchLabels": {"app": "checkout"}},
                "template": {
                    "metadata": {"labels": {"app": "checkout"}},
                    "spec": {"containers": [{
                        "name": "app", "image": "registry:5000/checkout:v1", "readinessProbe": {"httpGet": {}},
                        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}
                    }]},
                },
                "strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}},
            },
        })
    }

    fn messages(object: &Value) -> Vec<String> {
        let show = |finding: Finding| format!("{:?} {}: {}", finding.severity, finding.path, finding.message);
        check(object).into_iter().map(show).collect()
    }

    #[test]
    fn a_good_rollout_has_no_findings() {
        assert_eq!(messages(&rollout()), Vec::<String>::new());
    }

    #[test]
    fn names_fields_that_are_unknown_unsupported_or_of_the_wrong_type() {
        let mut object = rollout();
        object["spec"]["strategy"]["canary"]["steps"][0] = json!({"setWieght": 5});
        object["spec"]["replicas"] = json!("3");
        object["spec"]["workloadRef"] = json!({"kind": "Deployment"});
        object["specs"] = json!({});
        let found = messages(&object);
        assert!(
            found.contains(&"Error spec.strategy.canary.steps[0].setWieght: is not a field of Tidegate; correct its spelling or remove it".to_owned()),
            "{found:?}"
        );
        assert!(
            found.iter().any(|line| line.starts_with("Error spec.replicas: ")),
            "{found:?}"
        );
        assert!(
            found.contains(&"Error specs: unknown field".to_owned()),
            "{found:?}"
        );
        let unsupported = "Error spec.workloadRef: spec.workloadRef is not supported";
        assert!(
            found.iter().any(|line| line.starts_with(unsupported)),
            "{found:?}"
        );
    }

    #[test]
    fn warns_of_pitfalls() {
        let mut object = rollout();
        object["spec"]["replicas"] = json!(1);
        object["spec"]["drainSeconds"] = json!(0);
        object["spec"]["template"]["spec"]["containers"][0] =
            json!({"name": "app", "image": "registry:5000/checkout"});
        let found = messages(&object);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().all(|line| line.starts_with("Warning ")), "{found:?}");
    }

    #[test]
    fn names_fields_of_argo_in_a_run() {
        let run = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "a"},
            "spec": {"metrics": [], "ttlStrategy": {"secondsAfterCompletion": 60}},
        });
        let found = messages(&run);
        let begin = "Error spec.ttlStrategy: spec.ttlStrategy is not supported by Tidegate yet; ";
        assert!(found.len() == 1 && found[0].starts_with(begin), "{found:?}");
    }

    #[test]
    fn leaves_other_kinds_alone_and_refuses_unknown_ones_of_ours() {
        assert!(check(&json!({"apiVersion": "v1", "kind": "Service"})).is_empty());
        assert_eq!(
            check(&json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rolout"}))[0].path,
            "kind"
        );
        assert_eq!(
            check(&json!({"apiVersion": "tidegate.dev/v2", "kind": "Rollout"}))[0].path,
            "apiVersion"
        );
        assert_eq!(check(&json!(["x"]))[0].severity, Severity::Error);
    }
}
