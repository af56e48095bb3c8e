//! The scale subresource: an `autoscaling/v1` Scale made from the object, and written back into it.

use serde_json::{Map, Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::registry::ScalePaths;
use super::{Call, Store, meta, patch};
use crate::api::schema::Violation;

impl Store {
    pub(super) fn read_scale(&self, call: &Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        Ok(scale_of(paths(call)?, &stored).into())
    }

    pub(super) fn write_scale(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let paths = paths(call)?.clone();
        let stored = self.object(call)?;
        let scale = scale_of(&paths, &stored);
        let wanted = if call.request.method == "PATCH" {
            patch::patched(&call.resource, &scale, &call.request.content_type, &call.body)?
        } else {
            call.body.as_ref().clone()
        };
        let replicas = wanted
            .pointer("/spec/replicas")
            .cloned()
            .unwrap_or_else(|| json!(0));
        if !replicas
            .as_i64()
            .is_some_and(|replicas| (0..=i64::from(i32::MAX)).contains(&replicas))
        {
            let violation =
                Violation::invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
            return Err(Refusal::invalid(call.subject(), &[violation]));
        }
        let mut candidate = stored.as_ref().clone();
        for field in ["uid", "resourceVersion"] {
            let value = meta::text(&wanted, field);
            let value = if value.is_empty() {
                meta::text(&stored, field)
            } else {
                value
            };
            meta::set(&mut candidate, field, json!(value));
        }
        put(&mut candidate, &paths.spec_replicas, replicas);
        let answer = self.replace(call, &stored, candidate)?;
        Ok(scale_of(&paths, &answer.to_value()).into())
    }
}

fn paths<'a>(call: &'a Call<'_>) -> Result<&'a ScalePaths, Refusal> {
    call.resource.scale.as_ref().ok_or_else(Refusal::no_such_path)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|segment| !segment.is_empty())
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    segments(path).try_fold(object, |inner, segment| inner.get(segment))
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for segment in segments(path) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else { return };
        place = fields.entry(segment).or_insert(Value::Null);
    }
    *place = value;
}

fn scale_of(paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let selector = match &paths.label_selector {
        Some(path) => at(object, path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None => selector_text(object.pointer("/spec/selector").unwrap_or(&Value::Null)),
    };
    let metadata: Map<String, Value> = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), meta::get(object, field)?.clone())))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": {"replicas": number(&paths.status_replicas), "selector": selector},
    })
}

/// A label selector in query syntax.
fn selector_text(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let mut parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        let key = text("key");
        parts.push(match text("operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        });
    }
    parts.join(",")
}
