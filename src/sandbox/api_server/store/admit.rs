//! Everything between a decoded object and the store: defaults, unknown fields, validation.

use serde_json::Value;

use super::refusal::Refusal;
use super::{Call, body, meta, workload};
use crate::api::schema::{self, Violation};

/// Brings the object into the form that is stored, or refuses it. `old` is the stored one on an update.
pub(super) fn admit(
    call: &mut Call<'_>,
    name: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let resource = std::sync::Arc::clone(&call.resource);
    let unknown = match resource.schema() {
        Some(schema) => schema::prune(schema, object),
        None => workload::prune(&resource, object)?,
    };
    let findings = unknown
        .into_iter()
        .map(|path: String| format!("unknown field \"{path}\""))
        .collect();
    body::report(call.request, &resource, findings, &mut call.warnings)?;
    let mut violations = check_metadata(&resource.kind, object);
    match &resource.custom {
        Some(custom) => {
            schema::complete(&custom.schema, object);
            let by_schema = match old {
                Some(old) => schema::validate_update(&custom.schema, object, old),
                None => schema::validate(&custom.schema, object),
            };
            // CEL rules may assume that the schema holds.
            if by_schema.is_empty() {
                violations.extend(custom.rules.violations(object, old));
            }
            violations.extend(by_schema);
        }
        None => {
            workload::complete(&resource, object);
            violations.extend(workload::validate(&resource, object, old));
        }
    }
    if violations.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(resource.subject(name), &violations))
}

const SUBDOMAIN_HELP: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_HELP: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

fn check_metadata(kind: &str, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    let name = meta::text(object, "name");
    let shown = Value::from(name);
    if kind == "Service" {
        if !is_dns_label(name) || !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            found.push(Violation::invalid("metadata.name", &shown, LABEL_HELP));
        }
    } else if name.len() > 253 || !name.split('.').all(is_dns_label) {
        found.push(Violation::invalid("metadata.name", &shown, SUBDOMAIN_HELP));
    }
    let labels = meta::get(object, "labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        if !is_label_key(key) {
            let detail = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
            found.push(Violation::invalid(
                "metadata.labels",
                &Value::from(key.as_str()),
                detail,
            ));
        }
        if !value
            .as_str()
            .is_some_and(|value| value.is_empty() || is_label_word(value))
        {
            let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
            found.push(Violation::invalid("metadata.labels", value, detail));
        }
    }
    let annotations = meta::get(object, "annotations").and_then(Value::as_object);
    for (key, value) in annotations
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_string())
    {
        let detail = "must be a string";
        found.push(Violation::invalid(
            format!("metadata.annotations.{key}"),
            value,
            detail,
        ));
    }
    found
}

/// At most 63 lower case letters, digits and dashes, no dash at either end.
fn is_dns_label(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_label_word(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let edge = |letter: char| letter.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(edge)
        && text.ends_with(edge)
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => prefix.split('.').all(is_dns_label) && is_label_word(name),
        None => is_label_word(key),
    }
}
