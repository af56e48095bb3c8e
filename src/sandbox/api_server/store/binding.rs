//! `pods/binding`: how a scheduler puts a pod on a node. The real server takes no other way.

use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::{Call, Store, meta};
use crate::api::schema::Violation;

impl Store {
    pub(super) fn bind(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        let node = call
            .body
            .pointer("/target/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if node.is_empty() {
            return Err(Refusal::invalid(
                call.subject(),
                &[Violation::required("target.name", "")],
            ));
        }
        let bound = stored
            .pointer("/spec/nodeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !bound.is_empty() {
            let why = format!(
                "pod {} is already assigned to node \"{bound}\"",
                meta::text(&stored, "name")
            );
            return Err(Refusal::conflict(call.subject(), &why));
        }
        let mut assigned = stored.as_ref().clone();
        if let Some(Value::Object(spec)) = assigned.get_mut("spec") {
            spec.insert("nodeName".to_owned(), json!(node));
        }
        set_scheduled(call, &mut assigned);
        self.replace(call, &stored, assigned)?;
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}).into())
    }
}

/// The condition that a bound pod has.
fn set_scheduled(call: &Call<'_>, pod: &mut Value) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": meta::timestamp(call.now),
    });
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|known| known.get("type") != Some(&json!("PodScheduled")));
        conditions.push(condition);
    }
}
