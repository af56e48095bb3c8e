//! An object as it is kept in memory: trimmed, and as text, which takes a tenth of the room that its tree does.
//!
//! Guarantee: what is read from it is what was put in, with the order of its fields and every number to the last bit.

use serde_json::Value;

use super::trim::{rollout_of, trim};
use crate::api::resource::{ObjectKey, Resource, is_older_version, metadata_text};

/// One object.
#[derive(Clone, Debug)]
pub struct Kept {
    key: ObjectKey,
    uid: Box<str>,
    version: Box<str>,
    /// Name of the Rollout it belongs to, in the same namespace.
    rollout: Option<Box<str>>,
    text: Box<str>,
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
            text: object.to_string().into(),
        })
    }

    pub fn object(&self) -> Value {
        // What was written from a value can be read as one.
        serde_json::from_str(&self.text).unwrap_or_default()
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
        object["metadata"].as_object_mut().unwrap().remove("name");
        assert!(Kept::of(Resource::Rollout, object).is_none());
        let spec = kept.object()["spec"].to_string();
        assert!(
            spec.starts_with(r#"{"z":1,"a":["#),
            "the order of fields is part of a route: {spec}"
        );
    }
}
