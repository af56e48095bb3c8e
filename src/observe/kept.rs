//! An object as it is kept in memory: trimmed, and as compressed text, which takes a thirtieth of the room that its tree
//! does.
//!
//! Guarantee: what is read from it is what was put in, with the order of its fields and every number to the last bit.

use std::borrow::Borrow;
use std::cmp::Ordering;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde_json::Value;

use super::trim::{rollout_of, trim};
use crate::api::resource::{ObjectKey, Resource, is_older_version, metadata_text};

/// What such objects have in common: names of fields, and usual values. Each is compressed as if it followed this.
const COMMON: &[u8] = include_bytes!("common.json");

/// One object. It is compared, and found, by its key alone.
#[derive(Clone, Debug)]
pub struct Kept {
    key: ObjectKey,
    uid: Box<str>,
    version: Box<str>,
    /// Name of the Rollout it belongs to, in the same namespace.
    rollout: Option<Box<str>>,
    packed: Box<[u8]>,
}

impl Kept {
    /// `None` if it has no name.
    pub fn of(resource: Resource, mut object: Value) -> Option<Self> {
        trim(resource, &mut object);
        let text = |field| metadata_text(&object, field).unwrap_or_default().into();
        Some(Kept {
            key: ObjectKey::of(&object)?,
            uid: text("uid"),
            version: text("resourceVersion"),
            rollout: rollout_of(resource, &object).map(|rollout| rollout.name.into()),
            packed: compress_prepend_size_with_dict(object.to_string().as_bytes(), COMMON).into(),
        })
    }

    pub fn object(&self) -> Value {
        // What was packed from a value can be read as one.
        let text = decompress_size_prepended_with_dict(&self.packed, COMMON).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// The Rollout it belongs to.
    pub fn rollout(&self) -> Option<ObjectKey> {
        let name = self.rollout.as_deref()?;
        Some(ObjectKey::new(self.key.namespace.clone(), name))
    }

    /// Whether this is `known` again, or an older version of the same object.
    pub fn is_stale_beside(&self, known: &Kept) -> bool {
        let are_numbers = [self, known]
            .iter()
            .all(|kept| kept.version.parse::<u128>().is_ok());
        self.uid == known.uid
            && (self.version == known.version
                || are_numbers && is_older_version(&self.version, &known.version))
    }
}

impl Borrow<ObjectKey> for Kept {
    fn borrow(&self) -> &ObjectKey {
        &self.key
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_read_is_what_was_put_in() {
        let mut object = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
            "spec": {"z": 1, "a": [u64::MAX, i64::MIN, 0.1 + 0.2, 1e-7, 1.797_693_134_862_315_7e308, "\u{1f600}\n"]},
        });
        let kept = Kept::of(Resource::Rollout, object.clone()).unwrap();
        assert_eq!(kept.object(), object);
        assert!(kept.packed.len() < object.to_string().len());
        object["spec"]["large"] = (0..50_000).collect();
        let large = Kept::of(Resource::Rollout, object.clone()).unwrap();
        assert_eq!(large.object(), object);
        object["metadata"].as_object_mut().unwrap().remove("name");
        assert!(Kept::of(Resource::Rollout, object).is_none());
        let spec = kept.object()["spec"].to_string();
        assert!(
            spec.starts_with(r#"{"z":1,"a":["#),
            "the order of fields is part of a route: {spec}"
        );
    }
}
