//! What is accepted about a Rollout and hardly meant: one list for `lint`, which sees manifests, and for `explain`, which
//! sees what runs.

use serde_json::Value;

use crate::plan::validate::{Warning, validate_rollout, warn_rollout};

/// Warnings about a whole Rollout. One that is refused has only those that need no valid spec.
pub fn warn(rollout: &Value) -> Vec<Warning> {
    let valid = validate_rollout(rollout).ok();
    let mut warnings = valid.map(|valid| warn_rollout(&valid)).unwrap_or_default();
    warnings.extend(warn_drain(rollout));
    warnings.extend(warn_single(rollout));
    warnings.extend(warn_containers(rollout));
    warnings
}

fn warn_single(rollout: &Value) -> Option<Warning> {
    let replicas = rollout.pointer("/spec/replicas").and_then(Value::as_i64);
    (replicas == Some(1)).then(|| Warning {
        path: "spec.replicas".to_owned(),
        message: "one replica: while its node is drained nothing serves; 2 or more keep serving".to_owned(),
    })
}

fn warn_containers(rollout: &Value) -> Vec<Warning> {
    let listed = |field: &str| {
        let containers = rollout.pointer(&format!("/spec/template/spec/{field}"));
        containers.and_then(Value::as_array)
    };
    let mut warnings = Vec::new();
    for (index, container) in listed("initContainers").into_iter().flatten().enumerate() {
        let path = format!("spec.template.spec.initContainers[{index}]");
        warnings.extend(warn_image(&path, container));
    }
    let containers = listed("containers");
    for (index, container) in containers.into_iter().flatten().enumerate() {
        let path = format!("spec.template.spec.containers[{index}]");
        warnings.extend(warn_image(&path, container));
        if container.get("readinessProbe").is_none() {
            let message = "no readinessProbe: a pod counts as ready before it can answer".to_owned();
            warnings.push(Warning {
                path: path.clone(),
                message,
            });
        }
        warnings.extend(warn_resources(&path, container, rollout));
    }
    warnings
}

/// Requests and limits of the whole pod will do as well. A limit is a request, too, unless there is one.
fn warn_resources(path: &str, container: &Value, rollout: &Value) -> Option<Warning> {
    let of_pod = rollout.pointer("/spec/template/spec/resources");
    let has = |field: &str| {
        let pointer = format!("/resources/{field}");
        let of_pod = of_pod.and_then(|resources| resources.pointer(&format!("/{field}")));
        of_pod.or(container.pointer(&pointer)).is_some()
    };
    let lacks_request = |kind: &&str| !has(&format!("requests/{kind}")) && !has(&format!("limits/{kind}"));
    let requests: Vec<&str> = ["cpu", "memory"].into_iter().filter(lacks_request).collect();
    let mut missing = Vec::new();
    if !requests.is_empty() {
        let kinds = requests.join(" and ");
        missing.push(format!(
            "no requests for {kinds}: pods are placed where there is no room for them"
        ));
    }
    if !has("limits/memory") {
        missing.push("no limit for memory: one that leaks takes its neighbours with it".to_owned());
    }
    (!missing.is_empty()).then(|| Warning {
        path: format!("{path}.resources"),
        message: missing.join("; "),
    })
}

fn warn_image(path: &str, container: &Value) -> Option<Warning> {
    let image = container.get("image")?.as_str()?;
    let last = image.rsplit('/').next().unwrap_or(image);
    let problem = match (last.contains('@'), last.split_once(':')) {
        (true, _) => return None,
        (false, Some((_, tag))) if tag != "latest" => return None,
        (false, Some(_)) => "the tag latest",
        (false, None) => "no tag, which means latest",
    };
    Some(Warning {
        path: format!("{path}.image"),
        message: format!("{image} has {problem}: a new version starts no rollout and cannot be undone"),
    })
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

    fn enough() -> Value {
        json!({"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}})
    }

    fn paths(spec: &Value, steps: &Value) -> Vec<String> {
        let mut rollout = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"},
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [
                        {"name": "app", "image": "a:1", "readinessProbe": {}, "resources": enough()},
                        {"name": "proxy", "image": "p:1", "readinessProbe": {}, "resources": enough(), "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
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
    fn an_image_without_a_tag_of_its_own_is_warned_of() {
        for (image, fine) in [
            ("a:latest", false),
            ("a", false),
            ("registry:5000/a", false),
            ("a:1", true),
            ("a@sha256:0", true),
        ] {
            assert_eq!(
                warn_image("", &json!({"image": image})).is_none(),
                fine,
                "{image}"
            );
        }
    }

    #[test]
    fn images_of_init_containers_are_looked_at_and_nothing_else_of_them() {
        let rollout = json!({"spec": {"drainSeconds": 5, "template": {"spec": {"initContainers": [{"image": "a:1"}, {"image": "a"}]}}}});
        let paths: Vec<String> = warn(&rollout).into_iter().map(|warning| warning.path).collect();
        assert_eq!(paths, ["spec.template.spec.initContainers[1].image"]);
    }

    #[test]
    fn a_container_without_requests_and_limits_is_warned_of() {
        for (resources, said) in [
            (enough(), &[][..]),
            (json!({"limits": {"cpu": 1, "memory": "1Gi"}}), &[]),
            (
                json!({"requests": {"cpu": 1, "memory": "1Gi"}}),
                &["no limit for memory"],
            ),
            (
                json!({"limits": {"memory": "1Gi"}}),
                &["no requests for cpu: pods are placed"],
            ),
            (
                Value::Null,
                &[
                    "no requests for cpu and memory: pods are placed",
                    "no limit for memory",
                ],
            ),
        ] {
            let container = json!({"resources": resources});
            let message = warn_resources("", &container, &Value::Null).map(|warning| warning.message);
            let parts = message.iter().flat_map(|message| message.split("; ")).count();
            assert_eq!(parts, said.len(), "{resources} {message:?}");
            for part in said {
                assert!(
                    message.as_ref().unwrap().contains(part),
                    "{resources} {message:?}"
                );
            }
        }
        let rollout = json!({"spec": {"template": {"spec": {"resources": enough()}}}});
        assert_eq!(warn_resources("", &json!({}), &rollout), None);
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
