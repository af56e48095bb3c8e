//! Reads the few fields of raw objects that both dialects need, and makes preconditioned writes of them.
//! Every reader gives an empty answer for a shape it does not know.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{RouteKind, RouteWrite};
use crate::api::names::ROLLOUT_LABEL;
use crate::api::patch::{PatchOp, pointer};
use crate::api::resource::{is_controlled_by, is_nobodys};

pub fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path).and_then(Value::as_str)
}

pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/metadata/annotations").and_then(Value::as_object)
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// Whether the Rollout is the controller of an Ingress. Where a Rollout is deleted without its pods, the garbage collector
/// makes what it owned nobody's before it is gone: then our label and the mark of a canary tell, which nobody else sets
/// together.
pub fn is_of_rollout(object: &Value, uid: &str, name: &str) -> bool {
    let label = object.pointer(&pointer(["metadata", "labels", ROLLOUT_LABEL]));
    let is_canary = || {
        let mut marks = annotations(object).into_iter().flatten();
        marks.any(|(key, value)| key.ends_with("/canary") && value == "true")
    };
    is_controlled_by(object, uid)
        || is_nobodys(object) && label.and_then(Value::as_str) == Some(name) && is_canary()
}

/// Whether the API server could know an object of this name: a DNS subdomain, no namespace in front.
pub fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| inner(byte) || byte == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().last().is_some_and(inner)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Sets (`Some`) and removes (`None`) entries of `metadata.<map>`, those that differ only.
pub fn change_metadata(
    object: &Value,
    map: &str,
    entries: &BTreeMap<String, Option<String>>,
) -> Vec<PatchOp> {
    let path = pointer(["metadata", map]);
    let wanted = |value: &Option<String>| value.clone().map(Value::String);
    let Some(present) = object.pointer(&path).and_then(Value::as_object) else {
        let added: Map<String, Value> = entries
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), wanted(value)?)))
            .collect();
        return if added.is_empty() {
            Vec::new()
        } else {
            vec![PatchOp::add(path, added)]
        };
    };
    entries
        .iter()
        .flat_map(|(key, value)| {
            PatchOp::change(
                &pointer(["metadata", map, key]),
                present.get(key),
                wanted(value).as_ref(),
            )
        })
        .collect()
}

/// `None` when there is nothing to change.
pub fn patch(kind: RouteKind, name: &str, object: &Value, ops: Vec<PatchOp>) -> Option<RouteWrite> {
    (!ops.is_empty()).then(|| RouteWrite::Patch {
        kind,
        name: name.to_owned(),
        uid: metadata(object, "uid"),
        resource_version: metadata(object, "resourceVersion"),
        ops,
    })
}

pub fn delete(kind: RouteKind, name: &str, object: &Value) -> RouteWrite {
    RouteWrite::Delete {
        kind,
        name: name.to_owned(),
        uid: metadata(object, "uid"),
        resource_version: metadata(object, "resourceVersion"),
    }
}

fn metadata(object: &Value, key: &str) -> String {
    text(object, &pointer(["metadata", key]))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_dns_subdomains() {
        assert!(is_name("checkout"));
        assert!(is_name("a.b-c.3"));
        for bad in [
            "",
            "Checkout",
            "shop/checkout",
            "-a",
            "a-",
            "a..b",
            &"a".repeat(254),
            "ä",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_controller_owns_and_where_there_is_none_the_label_tells() {
        let label = json!({"tidegate.dev/rollout": "checkout"});
        let owners =
            json!([{"uid": "1"}, {"uid": "2", "controller": true}, {"uid": "3", "controller": "yes"}, 7]);
        let owned = json!({"metadata": {"labels": label, "ownerReferences": owners}});
        let garbage = json!({"metadata": {"labels": label, "ownerReferences": "2"}});
        let mark = json!({"nginx.ingress.kubernetes.io/canary": "true"});
        let orphan = json!({"metadata": {"labels": label, "annotations": mark}});
        let users = json!({"metadata": {"labels": label}});
        for (object, uid, name, ours) in [
            (&owned, "1", "checkout", false),
            (&owned, "2", "checkout", true),
            (&owned, "3", "checkout", false),
            (&garbage, "2", "checkout", false),
            (&orphan, "2", "checkout", true),
            (&orphan, "2", "cart", false),
            (&users, "2", "checkout", false),
            (
                &json!({"metadata": {"ownerReferences": []}}),
                "2",
                "checkout",
                false,
            ),
        ] {
            assert_eq!(is_of_rollout(object, uid, name), ours, "{object} {uid} {name}");
        }
    }

    #[test]
    fn a_missing_map_is_added_whole() {
        let entries = BTreeMap::from([("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
        assert_eq!(
            change_metadata(&json!({"metadata": {}}), "annotations", &entries),
            [PatchOp::add("/metadata/annotations", json!({"a": "1"}))]
        );
        assert_eq!(
            change_metadata(
                &json!({"metadata": {"annotations": {"a": "1", "b": "2", "c": "3"}}}),
                "annotations",
                &entries
            ),
            [
                PatchOp::test("/metadata/annotations/b", "2"),
                PatchOp::remove("/metadata/annotations/b")
            ]
        );
    }
}
