//! Events have two API groups and one storage: what is written as `events.k8s.io/v1` is read as `v1`, and the
//! other way round. Stored is the `v1` form.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Resource;

/// Names of the same field, in `v1` and in `events.k8s.io/v1`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn has_two_forms(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

/// An object as the resource's clients know it.
pub(super) fn served(resource: &Resource, stored: &Arc<Value>) -> Arc<Value> {
    if !has_two_forms(resource) {
        return Arc::clone(stored);
    }
    let mut object = stored.as_ref().clone();
    rename(&mut object, "events.k8s.io/v1", NAMES);
    Arc::new(object)
}

/// An object as it is kept.
pub(super) fn stored(resource: &Resource, mut object: Value) -> Value {
    if has_two_forms(resource) {
        rename(&mut object, "v1", NAMES.map(|(core, new)| (new, core)));
        if let Some(fields) = object.as_object_mut() {
            fields.entry("source").or_insert_with(|| json!({}));
        }
    }
    object
}

fn rename(object: &mut Value, api_version: &str, names: [(&str, &str); 7]) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.insert("apiVersion".to_owned(), json!(api_version));
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}
