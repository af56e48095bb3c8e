//! A Rollout without `replicas` gets one pod, unless something scales it.

use serde_json::Value;

use super::check::Finding;
use crate::api::names::GROUP;

/// Nothing where an autoscaler among the objects has this Rollout for its target.
pub fn warn_unsized(rollout: &Value, objects: &[&Value]) -> Option<Finding> {
    let is_unsized = rollout
        .pointer("/spec")?
        .get("replicas")
        .is_none_or(Value::is_null);
    if !is_rollout(rollout, "/apiVersion", "/kind") || !is_unsized {
        return None;
    }
    let is_scaled = objects.iter().any(|object| scales(object, rollout));
    (!is_scaled).then(|| {
        Finding::warning(
            "spec.replicas",
            "is left out and nothing here scales the Rollout: it begins with one replica, and while its node is drained \
             nothing serves",
        )
    })
}

/// An autoscaler of any kind that says so as a HorizontalPodAutoscaler does.
fn scales(object: &Value, rollout: &Value) -> bool {
    let target = "/spec/scaleTargetRef";
    let [version, kind, name] = ["apiVersion", "kind", "name"].map(|field| format!("{target}/{field}"));
    is_rollout(object, &version, &kind)
        && object.pointer(&name) == rollout.pointer("/metadata/name")
        && object.pointer("/metadata/namespace") == rollout.pointer("/metadata/namespace")
}

fn is_rollout(object: &Value, version: &str, kind: &str) -> bool {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let group = text(version).split('/').next();
    group == Some(GROUP) && text(kind) == "Rollout"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_that_nobody_sizes_is_warned_of() {
        let rollout = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "checkout", "namespace": "shop"}, "spec": {},
        });
        let scaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "any", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "checkout"}},
        });
        let is_warned = |rollout: &Value, scaler: &Value| warn_unsized(rollout, &[rollout, scaler]).is_some();
        assert!(is_warned(&rollout, &Value::Null));
        assert!(!is_warned(&rollout, &scaler));
        for (pointer, other) in [
            ("/spec/scaleTargetRef/apiVersion", "apps/v1"),
            ("/spec/scaleTargetRef/kind", "Deployment"),
            ("/spec/scaleTargetRef/name", "basket"),
            ("/metadata/namespace", "other"),
        ] {
            let mut scaler = scaler.clone();
            *scaler.pointer_mut(pointer).unwrap() = json!(other);
            assert!(is_warned(&rollout, &scaler), "{pointer}");
        }
        let mut sized = rollout.clone();
        sized["spec"]["replicas"] = json!(0);
        assert!(!is_warned(&sized, &Value::Null));
        assert!(warn_unsized(&scaler, &[&scaler]).is_none());
    }
}
