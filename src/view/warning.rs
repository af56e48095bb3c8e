//! What is accepted about a Rollout and hardly meant: one list for `lint`, which sees manifests, and for `explain`, which
//! sees what runs.

use serde_json::Value;

use crate::plan::validate::{Warning, validate_rollout, warn_rollout};

/// Warnings about a whole Rollout. One that is refused has only those that need no valid spec.
pub fn warn(rollout: &Value) -> Vec<Warning> {
    let valid = validate_rollout(rollout).ok();
    let mut warnings = valid.map(|valid| warn_rollout(&valid)).unwrap_or_default();
    warnings.extend(warn_drain(rollout));
    warnings
}

fn warn_drain(rollout: &Value) -> Vec<Warning> {
    let drains = rollout
        .pointer("/spec/drainSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds > 0);
    let containers = rollout
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array);
    let abrupt = |container: &Value| !drains && container.pointer("/lifecycle/preStop").is_none();
    let containers = containers.into_iter().flatten().enumerate();
    containers
        .filter(|(_, container)| abrupt(container))
        .map(|(index, _)| Warning {
            path: format!("spec.template.spec.containers[{index}].lifecycle"),
            message: "no preStop hook and no spec.drainSeconds: a pod stops while requests still reach it; \
                      drainSeconds: 5 is a good start"
                .to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(spec: &Value, steps: &Value) -> Vec<String> {
        let mut rollout = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"},
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [
                        {"name": "app", "image": "a:1"},
                        {"name": "proxy", "image": "p:1", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
                    ]},
                },
                "strategy": {"canary": {"steps": steps}},
            },
        });
        for (field, value) in spec.as_object().unwrap() {
            rollout["spec"][field] = value.clone();
        }
        warn(&rollout).into_iter().map(|warning| warning.path).collect()
    }

    #[test]
    fn warns_of_abrupt_pods_and_of_weights_that_go_down() {
        let (up, down) = (
            json!([{"setWeight": 10}, {"setWeight": 50}]),
            json!([{"setWeight": 50}, {"setWeight": 10}]),
        );
        let drain = "spec.template.spec.containers[0].lifecycle";
        let weight = "spec.strategy.canary.steps[1].setWeight";
        assert_eq!(paths(&json!({}), &up), [drain]);
        assert_eq!(paths(&json!({"drainSeconds": 0}), &down), [weight, drain]);
        assert_eq!(paths(&json!({"drainSeconds": 5}), &up), Vec::<String>::new());
        // A Rollout that is refused still stops its pods.
        assert_eq!(paths(&json!({"replicas": -1}), &down), [drain]);
    }
}
