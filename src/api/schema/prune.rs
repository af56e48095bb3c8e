//! Takes out the fields that a schema does not know, and says which they were.
//!
//! The same walk serves pruning and strict decoding: what pruning removes is what strict decoding refuses.

use serde_json::{Map, Value};

use super::field::FieldPath;
use super::metadata;

/// Removes unknown fields from `object` and returns their paths in the object's order.
pub fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    prune_value(schema, object, true, &FieldPath::ROOT, &mut removed);
    removed
}

/// `is_object` says that the value has an apiVersion, kind and metadata of its own: the root, or an embedded
/// resource.
fn prune_value(
    schema: &Value,
    value: &mut Value,
    is_object: bool,
    path: &FieldPath<'_>,
    removed: &mut Vec<String>,
) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields, is_object, path, removed),
        Value::Array(items) => {
            let Some(item_schema) = schema.get("items") else {
                return;
            };
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(
                    item_schema,
                    item,
                    is_embedded(item_schema),
                    &path.index(index),
                    removed,
                );
            }
        }
        _ => {}
    }
}

fn prune_fields(
    schema: &Value,
    fields: &mut Map<String, Value>,
    is_object: bool,
    path: &FieldPath<'_>,
    removed: &mut Vec<String>,
) {
    let preserve = is_set(schema, "x-kubernetes-preserve-unknown-fields");
    let properties = schema.get("properties");
    let additional = schema.get("additionalProperties");
    fields.retain(|name, value| {
        let path = path.child(name);
        match name.as_str() {
            "apiVersion" | "kind" if is_object => return true,
            "metadata" if is_object => {
                prune_metadata(value, &path, removed);
                return true;
            }
            _ => {}
        }
        let known = properties.and_then(|known| known.get(name)).or(additional);
        match known {
            Some(known @ Value::Object(_)) => prune_value(known, value, is_embedded(known), &path, removed),
            Some(Value::Bool(true)) => {}
            _ if preserve => {}
            _ => {
                removed.push(path.to_string());
                return false;
            }
        }
        true
    });
}

fn prune_metadata(value: &mut Value, path: &FieldPath<'_>, removed: &mut Vec<String>) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, _| {
        let known = metadata::FIELDS.contains(&name.as_str());
        if !known {
            removed.push(path.child(name).to_string());
        }
        known
    });
}

fn is_embedded(schema: &Value) -> bool {
    is_set(schema, "x-kubernetes-embedded-resource")
}

fn is_set(schema: &Value, extension: &str) -> bool {
    schema.get(extension).and_then(Value::as_bool).unwrap_or(false)
}
