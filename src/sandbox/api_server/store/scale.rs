//! The scale subresource: an `autoscaling/v1` Scale made from the object, and written back into it.

use serde_json::{Map, Value, json};

use super::answer::Body;
use super::refusal::{Refusal, Subject};
use super::registry::ScalePaths;
use super::request::Verb;
use super::{Call, Store, meta, patch};
use crate::api::schema::Violation;

impl Store {
    pub(super) fn read_scale(&self, call: &Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        Ok(scale_of(paths(call)?, &stored)?.into())
    }

    pub(super) fn write_scale(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let paths = paths(call)?.clone();
        let stored = self.object(call)?;
        let scale = scale_of(&paths, &stored)?;
        let wanted = if call.request.verb == Verb::Patch {
            patch::patched(&call.resource, &scale, &call.request.content_type, &call.body)?
        } else {
            call.body.as_ref().clone()
        };
        if meta::text(&wanted, "name") != meta::text(&stored, "name") {
            return Err(Refusal::bad_request(
                "the name of the object does not match the name on the URL",
            ));
        }
        let replicas = wanted
            .pointer("/spec/replicas")
            .cloned()
            .unwrap_or_else(|| json!(0));
        if replicas.as_i64().is_none() && call.request.verb == Verb::Patch {
            return Err(Refusal::unreadable_outcome("spec.replicas must be an integer"));
        }
        if replicas.as_i64().is_none_or(|replicas| replicas < 0) && call.resource.custom.is_none() {
            let detail = "must be greater than or equal to 0";
            let subject = Subject {
                group: "autoscaling",
                kind: "Scale",
                ..call.subject()
            };
            return Err(Refusal::invalid(
                subject,
                &[Violation::invalid("spec.replicas", &replicas, detail)],
            ));
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
        Ok(scale_of(&paths, &answer.to_value())?.into())
    }
}

fn paths<'a>(call: &'a Call<'_>) -> Result<&'a ScalePaths, Refusal> {
    call.resource.scale.as_ref().ok_or_else(Refusal::no_such_path)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|segment| !segment.is_empty())
}

pub(super) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
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

/// An object without replicas has no scale, and autoscalers leave it alone.
fn scale_of(paths: &ScalePaths, object: &Value) -> Result<Value, Refusal> {
    let number = |path: &str| at(object, path).and_then(Value::as_i64);
    let Some(wanted) = number(&paths.spec_replicas) else {
        let path = &paths.spec_replicas;
        return Err(Refusal::internal(format!(
            "the spec replicas field \"{path}\" does not exist"
        )));
    };
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
    // What is zero or empty is left out, but for the number of pods there are.
    let mut spec = Map::new();
    if wanted != 0 {
        spec.insert("replicas".to_owned(), json!(wanted));
    }
    let mut status = json!({"replicas": number(&paths.status_replicas).unwrap_or(0)});
    if let Some(status) = status.as_object_mut().filter(|_| !selector.is_empty()) {
        status.insert("selector".to_owned(), json!(selector));
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
    }))
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
