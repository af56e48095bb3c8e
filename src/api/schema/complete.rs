//! Puts a schema's defaults into an object and drops nulls that the schema does not allow.

use serde_json::Value;

/// Completes `object` in place: absent fields, and nulls of fields that are not nullable, take their default or go.
pub fn complete(schema: &Value, object: &mut Value) {
    match object {
        Value::Object(fields) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    let refused_null = fields.get(name).is_some_and(Value::is_null) && !is_nullable(property);
                    if refused_null {
                        fields.remove(name);
                    }
                    if !fields.contains_key(name)
                        && let Some(default) = property.get("default")
                    {
                        fields.insert(name.clone(), default.clone());
                    }
                    if let Some(value) = fields.get_mut(name) {
                        complete(property, value);
                    }
                }
            }
            if let Some(additional @ Value::Object(_)) = schema.get("additionalProperties") {
                let properties = schema.get("properties");
                for (name, value) in fields.iter_mut() {
                    if properties.and_then(|known| known.get(name)).is_none() {
                        complete(additional, value);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(item_schema) = schema.get("items") {
                items.iter_mut().for_each(|item| complete(item_schema, item));
            }
        }
        _ => {}
    }
}

fn is_nullable(schema: &Value) -> bool {
    schema.get("nullable").and_then(Value::as_bool).unwrap_or(false)
}
