//! Reads a request's body, noticing fields that are written twice: JSON parsers drop them in silence.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::patch;
use super::refusal::Refusal;
use super::registry::Resource;
use super::request::{ApiRequest, Verb};
use crate::api::schema::FieldPath;

/// How unknown and duplicate fields are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// As asked for; the real server's default is to warn.
    pub fn of(request: &ApiRequest) -> Result<Self, Refusal> {
        match request.param("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(Refusal::bad_request(format!(
                "invalid fieldValidation \"{other}\": supported values: \"Ignore\", \"Warn\", \"Strict\""
            ))),
        }
    }
}

/// What strict decoding says about fields, in the real server's words.
pub(super) fn report(
    request: &ApiRequest,
    resource: &Resource,
    findings: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    if findings.is_empty() {
        return Ok(());
    }
    match FieldValidation::of(request)? {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => warnings.extend(findings),
        FieldValidation::Strict => {
            let error = format!("strict decoding error: {}", findings.join(", "));
            if request.verb == Verb::Patch {
                return Err(Refusal::unreadable_outcome(&error));
            }
            let (kind, version) = (&resource.kind, &resource.version);
            let message = format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}");
            return Err(Refusal::bad_request(message));
        }
    }
    Ok(())
}

/// The body as a value; null when there is none or it is never looked at.
pub(super) fn read(
    request: &ApiRequest,
    resource: &Resource,
    warnings: &mut Vec<String>,
) -> Result<Value, Refusal> {
    if !request.verb.is_write() || request.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    if request.content_type.contains("protobuf") {
        let message =
            "the sandbox reads JSON only, and this kubectl command sends protobuf: use kubectl apply -f";
        return Err(Refusal::unsupported_media_type(message));
    }
    patch::refuse_apply(&request.content_type)?;
    // Without a type, and in YAML as JSON is, it is read; which patches are, the patch says.
    let form = &request.content_type;
    if request.verb != Verb::Patch && !form.is_empty() && !form.contains("json") && !form.contains("yaml") {
        return Err(Refusal::unsupported_media_type(
            "the body must be application/json",
        ));
    }
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(&request.body);
    let seed = Watchful {
        path: &FieldPath::ROOT,
        duplicates: &mut duplicates,
    };
    let value = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| Refusal::bad_request(format!("the body is not valid JSON: {error}")))?;
    report(request, resource, duplicates, warnings)?;
    Ok(value)
}

/// Builds a `Value` and writes down every field that comes twice.
struct Watchful<'a> {
    path: &'a FieldPath<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Watchful<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Watchful<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = self.path.index(items.len());
            let seed = Watchful {
                path: &path,
                duplicates: self.duplicates,
            };
            let Some(item) = sequence.next_element_seed(seed)? else {
                return Ok(items.into());
            };
            items.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = self.path.child(&name);
            let value = entries.next_value_seed(Watchful {
                path: &path,
                duplicates: self.duplicates,
            })?;
            if fields.contains_key(&name) {
                self.duplicates.push(format!("duplicate field \"{path}\""));
            }
            fields.insert(name, value);
        }
        Ok(fields.into())
    }
}
