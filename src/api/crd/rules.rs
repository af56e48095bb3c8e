//! What no Rust type can state: limits, CEL rules and the stubs of fields that are refused, put into the
//! schemas from the tables in `rules/table.rs` and `api::argo`.

mod table;

use serde_json::{Map, Value, json};

use super::CrdError;
use crate::api::argo::{FIELDS, Stub, Support};

/// A CEL rule on the node at `at` (`[]` goes into items, `{}` into the values of a map).
pub(super) struct Rule {
    pub kinds: &'static [&'static str],
    pub at: &'static str,
    pub rule: &'static str,
    /// Names the field and the fix.
    pub message: &'static str,
    /// Relative to `at`; empty for the node itself.
    pub field: &'static str,
}

/// Keywords of JSON schema for the node at `at`.
pub(super) struct Limit {
    pub kinds: &'static [&'static str],
    pub at: &'static str,
    /// A JSON object.
    pub keywords: fn() -> Value,
}

pub(super) fn add(kind: &str, root: &mut Value) -> Result<(), CrdError> {
    for limit in table::LIMITS.iter().filter(|limit| limit.kinds.contains(&kind)) {
        let keywords = (limit.keywords)();
        for (name, value) in keywords.as_object().into_iter().flatten() {
            find(kind, root, limit.at)?.insert(name.clone(), value.clone());
        }
    }
    for rule in table::RULES.iter().filter(|rule| rule.kinds.contains(&kind)) {
        add_rule(find(kind, root, rule.at)?, rule.rule, rule.message, rule.field);
    }
    add_stubs(kind, root)
}

fn add_rule(node: &mut Map<String, Value>, rule: &str, message: &str, field: &str) {
    let mut entry = Map::new();
    entry.insert("rule".to_owned(), json!(rule));
    entry.insert("message".to_owned(), json!(message));
    if !field.is_empty() {
        entry.insert("fieldPath".to_owned(), json!(format!(".{field}")));
    }
    let rules = node
        .entry("x-kubernetes-validations")
        .or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(Value::Object(entry));
    }
}

/// The rule of a field that is refused whatever it holds. It stands on the field itself: a rule on what the field is in would
/// be evaluated with every write of every object.
pub(super) const REFUSED: &str = "false";

/// Fields of Argo Rollouts that are not supported: known to the schema, so that no server prunes them
/// silently, and refused by a rule.
fn add_stubs(kind: &str, root: &mut Value) -> Result<(), CrdError> {
    for field in FIELDS.iter().filter(|field| field.is_in(kind)) {
        let Support::Refused(stub) = field.support else {
            continue;
        };
        let Some((parent, name)) = field.path.rsplit_once('.') else {
            continue;
        };
        let node = find(kind, root, parent)?;
        let properties = node.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.to_owned(), stub_schema(stub));
        }
        add_rule(
            find(kind, root, field.path)?,
            REFUSED,
            &field.refusal(field.path),
            "",
        );
    }
    Ok(())
}

fn stub_schema(stub: Stub) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    match stub {
        Stub::Object => open,
        Stub::Objects => json!({"type": "array", "maxItems": 50, "items": open}),
        Stub::String => json!({"type": "string"}),
        Stub::Integer => json!({"type": "integer"}),
        Stub::Boolean => json!({"type": "boolean"}),
    }
}

/// The schema of the node at `path`; the empty path is the object itself.
fn find<'a>(kind: &str, root: &'a mut Value, path: &str) -> Result<&'a mut Map<String, Value>, CrdError> {
    let missing = || CrdError::NoSuchField {
        kind: kind.to_owned(),
        path: path.to_owned(),
    };
    let mut node = root;
    for segment in path.split('.').filter(|segment| !segment.is_empty()) {
        let name = segment.trim_end_matches("[]").trim_end_matches("{}");
        node = node
            .pointer_mut(&format!("/properties/{name}"))
            .ok_or_else(missing)?;
        if segment.ends_with("[]") {
            node = node.get_mut("items").ok_or_else(missing)?;
        } else if segment.ends_with("{}") {
            node = node.get_mut("additionalProperties").ok_or_else(missing)?;
        }
    }
    node.as_object_mut().ok_or_else(missing)
}
