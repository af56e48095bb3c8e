//! Object metadata as the server keeps it: what it sets itself, what a writer cannot change.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

/// Fields that only the server sets: an update gets them from the stored object.
const SERVER_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

pub(super) fn timestamp(now: DateTime<Utc>) -> Value {
    json!(now.to_rfc3339_opts(SecondsFormat::Secs, true))
}

pub(super) fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .filter(|value| !value.is_null())
}

/// A text field of the metadata; absent and empty are the same.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    get(object, field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(metadata) = fields_mut(object) {
        metadata.insert(field.to_owned(), value);
    }
}

pub(super) fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = fields_mut(object) {
        metadata.remove(field);
    }
}

fn fields_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut()
}

/// The server writes no empty maps and lists.
pub(super) fn remove_empty(object: &mut Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match get(object, field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => false,
        };
        if is_empty {
            remove(object, field);
        }
    }
}

pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let list = get(object, "finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn is_deleting(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some()
}

/// Puts the server's own fields back as they are stored.
pub(super) fn keep_server_fields(candidate: &mut Value, stored: &Value) {
    for field in SERVER_FIELDS {
        match get(stored, field) {
            Some(value) => set(candidate, field, value.clone()),
            None => remove(candidate, field),
        }
    }
    remove(candidate, "managedFields");
}

pub(super) fn generation(object: &Value) -> i64 {
    get(object, "generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Whether two objects differ outside of metadata and, where it is a subresource, of status.
pub(super) fn wants_differ(one: &Value, other: &Value, status_apart: bool) -> bool {
    let names = |object: &'_ Value| -> Vec<String> {
        object
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .cloned()
            .collect()
    };
    let relevant = |name: &String| name != "metadata" && !(status_apart && name == "status");
    names(one)
        .iter()
        .chain(&names(other))
        .filter(|name| relevant(name))
        .any(|name| one.get(name) != other.get(name))
}
