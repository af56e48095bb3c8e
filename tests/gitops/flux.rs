//! The expressions of `gitops/flux/kustomization.yaml`, by the order in which Flux asks them.

use cel::{Context, Program, Value as CelValue};
use serde_json::{Value, json};

use crate::stage;

const KUSTOMIZATION: &str = include_str!("../../gitops/flux/kustomization.yaml");

/// InProgress while the generation is not observed, and while a field is missing that an expression is about.
fn evaluate(checks: &Value, object: &Value) -> &'static str {
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    let mut context = Context::default();
    for (name, value) in object.as_object().unwrap() {
        context.add_variable(name.as_str(), value).unwrap();
    }
    for (name, status) in [
        ("inProgress", "InProgress"),
        ("failed", "Failed"),
        ("current", "Current"),
    ] {
        let Some(expression) = checks[name].as_str() else {
            continue;
        };
        match Program::compile(expression).unwrap().execute(&context) {
            Ok(CelValue::Bool(true)) => return status,
            Ok(CelValue::Bool(false)) => {}
            Ok(other) => panic!("{expression} is {other:?}"),
            Err(_) => return "InProgress",
        }
    }
    "InProgress"
}

#[test]
fn flux_waits_until_a_release_has_ended() {
    let kustomization: Value = serde_saphyr::from_str(KUSTOMIZATION).unwrap();
    assert_eq!(kustomization["spec"]["wait"], json!(true));
    let [checks] = kustomization["spec"]["healthCheckExprs"]
        .as_array()
        .unwrap()
        .as_slice()
    else {
        panic!("{kustomization}");
    };
    for stage in stage::all() {
        let rollout = &stage.rollout;
        assert_eq!(
            (&checks["apiVersion"], &checks["kind"]),
            (&rollout["apiVersion"], &rollout["kind"])
        );
        // What kstatus cannot know.
        let expected = if rollout["status"].is_null() {
            "InProgress"
        } else {
            stage.status
        };
        assert_eq!(evaluate(checks, rollout), expected, "{}", stage.name);
    }
}
