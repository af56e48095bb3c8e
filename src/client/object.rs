//! One object of an answer, read by itself.
//!
//! Guarantees: an object that is nested deeper than [`MAX_DEPTH`] never keeps others of the same list from being
//! read; of its own fields only the one that is too deep is unreadable, and says so in place of its value. Managed
//! fields are left out.

use std::borrow::Cow;
use std::fmt;

use kube::api::ObjectMeta;
use kube::core::ApiResource;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::api::resource::metadata_text;

/// Levels below a field of an object. Lists and events around it, and what they are read with, stop at 128.
const MAX_DEPTH: usize = 100;

/// As it is, whatever its fields hold.
#[derive(Clone, Debug)]
pub struct Object {
    pub value: Value,
    metadata: ObjectMeta,
}

/// One page of a list.
#[derive(Debug, serde::Deserialize)]
pub struct Page {
    #[serde(default)]
    pub metadata: Value,
    #[serde(default)]
    pub items: Option<Vec<Object>>,
}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::Object(deserializer.deserialize_map(Fields)?);
        let text = |field| metadata_text(&value, field).map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Object { value, metadata })
    }
}

/// What a watch needs to know of it.
impl kube::Resource for Object {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn api_version(kind: &ApiResource) -> Cow<'_, str> {
        kind.api_version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The fields of an object.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let level = Level {
                left: MAX_DEPTH,
                leave_out: (name == "metadata").then_some("managedFields"),
            };
            let value = map.next_value_seed(level)?.unwrap_or_else(|| {
                Value::String(format!(
                    "nested deeper than {MAX_DEPTH} levels, which is not read"
                ))
            });
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

/// A value with so many levels left; `None` if it has more. Those are passed over without recursion.
#[derive(Clone, Copy)]
struct Level {
    left: usize,
    leave_out: Option<&'static str>,
}

impl Level {
    fn below(self) -> Option<Level> {
        let left = self.left.checked_sub(1)?;
        Some(Level {
            left,
            leave_out: None,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = self.below().map(|_| Vec::new());
        loop {
            let item = match (self.below(), &items) {
                (Some(below), Some(_)) => seq.next_element_seed(below)?,
                _ => seq.next_element::<IgnoredAny>()?.map(|_| None),
            };
            let Some(item) = item else { break };
            items = items.zip(item).map(|(mut items, item)| {
                items.push(item);
                items
            });
        }
        Ok(items.map(Value::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = self.below().map(|_| Map::new());
        while let Some(name) = map.next_key::<String>()? {
            if self.leave_out == Some(name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = match (self.below(), &fields) {
                (Some(below), Some(_)) => map.next_value_seed(below)?,
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            fields = fields.zip(value).map(|(mut fields, value)| {
                fields.insert(name, value);
                fields
            });
        }
        Ok(fields.map(Value::Object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Rollout whose template has so many levels.
    fn nested(levels: usize) -> String {
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"kind": "Rollout", "metadata": {{"name": "deep", "resourceVersion": "7", "managedFields": [{open}1{close}]}},
                "spec": {{"template": {open}[1]{close}}}, "status": {{"x": [1, -2, 0.5, "s", true, null]}}}}"#
        )
    }

    #[test]
    fn an_object_is_read_as_it_is() {
        let object: Object = serde_json::from_str(&nested(90)).unwrap();
        let mut expected: Value = serde_json::from_str(&nested(90)).unwrap();
        expected["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        assert_eq!(object.value, expected);
        assert_eq!(
            kube::Resource::meta(&object).resource_version.as_deref(),
            Some("7")
        );
    }

    #[test]
    fn lists_and_events_of_a_watch_read_objects_so() {
        let deep = nested(5_000);
        let list = format!(r#"{{"kind": "List", "metadata": {{}}, "items": [{deep}]}}"#);
        let list: kube::core::ObjectList<Object> = serde_json::from_str(&list).unwrap();
        let event = format!(r#"{{"type": "MODIFIED", "object": {deep}}}"#);
        let event: kube::core::WatchEvent<Object> = serde_json::from_str(&event).unwrap();
        let kube::core::WatchEvent::Modified(object) = event else {
            panic!("{event:?}")
        };
        assert_eq!(object.value, list.items[0].value);
    }

    #[test]
    fn one_that_is_nested_too_deep_leaves_the_rest_of_it_and_of_the_list_readable() {
        for levels in [110, 200, 100_000] {
            let list = format!(
                r#"{{"metadata": {{"continue": "c"}}, "items": [{}, {{"metadata": {{"name": "b"}}}}]}}"#,
                nested(levels)
            );
            let page: Page = serde_json::from_str(&list).unwrap();
            let items: Vec<Value> = page
                .items
                .into_iter()
                .flatten()
                .map(|object| object.value)
                .collect();
            assert_eq!(items[1], json!({"metadata": {"name": "b"}}));
            assert_eq!(
                items[0]["metadata"],
                json!({"name": "deep", "resourceVersion": "7"})
            );
            assert_eq!(items[0]["status"]["x"], json!([1, -2, 0.5, "s", true, null]));
            let spec = items[0]["spec"].as_str().unwrap();
            assert!(spec.starts_with("nested deeper than 100 levels"), "{spec}");
        }
    }
}
