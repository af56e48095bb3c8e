//! The three ways to patch an object that are served. Server-side apply is refused: nothing of ours uses it.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, TestOperation};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::registry::Resource;

/// Applies the patch in `body` to a copy of `object`.
pub(super) fn patched(
    resource: &Resource,
    object: &Value,
    content_type: &str,
    body: &Value,
) -> Result<Value, Refusal> {
    let mut result = object.clone();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => apply_json_patch(&mut result, body)?,
        "application/merge-patch+json" => {
            require_object(body)?;
            json_patch::merge(&mut result, body);
        }
        "application/strategic-merge-patch+json" if resource.custom.is_none() => {
            require_object(body)?;
            merge_strategically(&mut result, body);
        }
        _ => return Err(refuse_media_type(resource)),
    }
    Ok(result)
}

fn require_object(body: &Value) -> Result<(), Refusal> {
    if body.is_object() {
        return Ok(());
    }
    Err(Refusal::bad_request("a merge patch must be an object"))
}

/// Server-side apply is refused before anything is looked up, so that nobody takes it for a missing object.
pub(super) fn refuse_apply(content_type: &str) -> Result<(), Refusal> {
    if !content_type.starts_with("application/apply-patch") {
        return Ok(());
    }
    let message =
        "server-side apply is not served by the sandbox: use a JSON Patch, a merge patch or an update";
    Err(Refusal::unsupported_media_type(message))
}

fn refuse_media_type(resource: &Resource) -> Refusal {
    let strategic = if resource.custom.is_none() {
        ", application/strategic-merge-patch+json"
    } else {
        ""
    };
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json{strategic}"
    );
    Refusal::unsupported_media_type(message)
}

fn apply_json_patch(object: &mut Value, body: &Value) -> Result<(), Refusal> {
    let Some(operations) = body.as_array() else {
        return Err(Refusal::bad_request("error decoding patch: it is not a list"));
    };
    for operation in operations {
        let operation: PatchOperation =
            serde_json::from_value(operation.clone()).map_err(|_| Refusal::patch_does_not_apply())?;
        let operation = lenient(object, operation);
        json_patch::patch(object, &[operation]).map_err(|_| Refusal::patch_does_not_apply())?;
    }
    Ok(())
}

/// The real server takes a field that is absent from an object for one that is null, except where it is removed.
fn lenient(object: &Value, operation: PatchOperation) -> PatchOperation {
    let is_absent_field = |path: &str| {
        let parent = path
            .rsplit_once('/')
            .and_then(|(parent, _)| object.pointer(parent));
        parent.is_some_and(Value::is_object) && object.pointer(path).is_none()
    };
    let add = |path, value| PatchOperation::Add(AddOperation { path, value });
    match operation {
        PatchOperation::Replace(replace) if is_absent_field(replace.path.as_str()) => {
            add(replace.path, replace.value)
        }
        PatchOperation::Copy(copy) if is_absent_field(copy.from.as_str()) => add(copy.path, Value::Null),
        // Nothing to change about a root that is there.
        PatchOperation::Test(test) if test.value.is_null() && is_absent_field(test.path.as_str()) => {
            PatchOperation::Test(TestOperation {
                path: PointerBuf::new(),
                value: object.clone(),
            })
        }
        other => other,
    }
}

/// Merge keys of lists by field name. The real server has them per type; these are the ones that
/// `kubectl apply` meets on pod templates, Services and metadata. Other lists are replaced whole.
const MERGE_KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
];

fn merge_key(field: &str, patch: &[Value]) -> Option<&'static str> {
    if field == "ports" {
        // Container ports and Service ports go by different keys.
        let in_container = patch.iter().any(|item| item.get("containerPort").is_some());
        return Some(if in_container { "containerPort" } else { "port" });
    }
    MERGE_KEYS
        .iter()
        .find(|(name, _)| *name == field)
        .map(|(_, key)| *key)
}

fn merge_strategically(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if changes.get("$patch").and_then(Value::as_str) == Some("replace") {
        *object = Value::Object(without_directives(changes));
        return;
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(fields) = object else { return };
    for (name, change) in changes {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            remove_items(fields, list, change);
        } else if !name.starts_with('$') {
            merge_field(fields, name, change);
        }
    }
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn remove_items(fields: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), gone) {
        items.retain(|item| !gone.contains(item));
    }
}

fn merge_field(fields: &mut Map<String, Value>, name: &str, change: &Value) {
    match change {
        Value::Null => {
            fields.remove(name);
        }
        Value::Object(_) => merge_strategically(fields.entry(name).or_insert(Value::Null), change),
        Value::Array(changes) => match (merge_key(name, changes), fields.get_mut(name)) {
            (Some(key), Some(Value::Array(items))) => merge_list(items, changes, key),
            _ if name == "finalizers" => add_missing(fields, name, changes),
            _ => {
                fields.insert(name.to_owned(), change.clone());
            }
        },
        scalar => {
            fields.insert(name.to_owned(), scalar.clone());
        }
    }
}

fn add_missing(fields: &mut Map<String, Value>, name: &str, changes: &[Value]) {
    let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(items) = list {
        for change in changes.iter().filter(|change| !change.is_null()) {
            if !items.contains(change) {
                items.push(change.clone());
            }
        }
    }
}

fn merge_list(items: &mut Vec<Value>, changes: &[Value], key: &str) {
    for change in changes {
        let directive = change.get("$patch").and_then(Value::as_str);
        if directive == Some("replace") {
            let rest = changes.iter().filter(|other| other.get("$patch").is_none());
            *items = rest.cloned().collect();
            return;
        }
        let position = items.iter().position(|item| item.get(key) == change.get(key));
        match (position.and_then(|at| items.get_mut(at)), directive) {
            (Some(_), Some("delete")) => items.retain(|item| item.get(key) != change.get(key)),
            (Some(item), _) => merge_strategically(item, change),
            (None, Some("delete")) => {}
            (None, _) => items.push(change.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn strategic(mut object: Value, patch: Value) -> Value {
        merge_strategically(&mut object, &patch);
        object
    }

    #[test]
    fn strategic_merge_keeps_list_items_by_key() {
        let object = json!({"spec": {"replicas": 1, "paused": true, "containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]}});
        let patch = json!({"spec": {"paused": null, "containers": [
            {"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}]},
            {"name": "b", "$patch": "delete"}, {"name": "c", "image": "c:1"}]}});
        let expected = json!({"spec": {"replicas": 1, "containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}]},
            {"name": "c", "image": "c:1"}]}});
        assert_eq!(strategic(object, patch), expected);
    }

    #[test]
    fn strategic_merge_replaces_other_lists_and_obeys_directives() {
        let object = json!({"args": ["a"], "map": {"x": 1}, "metadata": {"finalizers": ["one", "two"]}});
        let patch = json!({"args": ["b"], "map": {"$patch": "replace", "y": 2},
            "metadata": {"finalizers": ["three"], "$deleteFromPrimitiveList/finalizers": ["one"]}});
        let merged = strategic(object, patch);
        assert_eq!(merged["args"], json!(["b"]));
        assert_eq!(merged["map"], json!({"y": 2}));
        assert_eq!(merged["metadata"]["finalizers"], json!(["two", "three"]));
    }
}
