//! Everything between a decoded object and the store: defaults, unknown fields, validation.

use kube::core::ObjectMeta;
use serde_json::Value;

use super::refusal::{Refusal, Subject};
use super::registry::ScalePaths;
use super::request::Verb;
use super::{Call, body, meta, scale, workload};
use crate::api::schema::{self, Reason, Violation};

/// Brings the object into the form that is stored, or refuses it. `old` is the stored one on an update.
pub(super) fn admit(
    call: &mut Call<'_>,
    name: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let resource = std::sync::Arc::clone(&call.resource);
    let unknown = match resource.schema() {
        Some(schema) => {
            let mut unknown = schema::prune(schema, object);
            unknown.sort();
            unknown
        }
        None => workload::prune(&resource, object).map_err(|error| unreadable(call, &error))?,
    };
    let findings = unknown
        .into_iter()
        .map(|path: String| format!("unknown field \"{path}\""))
        .collect();
    body::report(call.request, &resource, findings, &mut call.warnings)?;
    if resource.custom.is_some() {
        let metadata = object.get("metadata").cloned().unwrap_or_default();
        serde_json::from_value::<ObjectMeta>(metadata).map_err(|error| unreadable(call, &error))?;
    }
    meta::remove_empty(object);
    let mut violations = check_metadata(&resource.kind, object);
    violations.extend(check_owners(object));
    violations.extend(check_finalizers(call, object));
    match &resource.custom {
        Some(custom) => {
            schema::complete(&custom.schema, object);
            let by_schema = match old {
                Some(old) => schema::validate_update(&custom.schema, object, old),
                None => schema::validate(&custom.schema, object),
            };
            if let Some(scale) = &resource.scale {
                violations.extend(check_scale(scale, object));
            }
            let unchecked = by_schema.iter().any(keeps_rules_from_running);
            violations.extend(by_schema);
            if unchecked {
                violations.push(unchecked_rules());
            } else {
                violations.extend(custom.rules.violations(object, old));
            }
        }
        None => {
            workload::complete(&resource, object);
            violations.extend(workload::validate(&resource, object, old));
        }
    }
    if violations.is_empty() {
        return Ok(());
    }
    let subject = match resource.kind.as_str() {
        // Of whatever group, they are judged in their core form.
        "Event" => Subject {
            group: "",
            ..resource.subject(name)
        },
        _ => resource.subject(name),
    };
    Err(Refusal::invalid(subject, &violations))
}

/// An object whose fields are not of the kind's types.
fn unreadable(call: &Call<'_>, error: &serde_json::Error) -> Refusal {
    if call.request.verb == Verb::Patch {
        return Refusal::unreadable_outcome(&error.to_string());
    }
    let (kind, version) = (&call.resource.kind, &call.resource.version);
    let message = format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}");
    Refusal::bad_request(message)
}

/// What is said in place of the rules' findings.
pub(super) fn unchecked_rules() -> Violation {
    Violation::invalid("<nil>", &Value::Null, UNCHECKED)
}

const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing \
                         errors to complete validation";

/// CEL rules may assume that types are right and that nothing is missing or too large.
fn keeps_rules_from_running(violation: &Violation) -> bool {
    matches!(
        violation.reason,
        Reason::Required | Reason::TypeInvalid | Reason::TooLong | Reason::TooMany | Reason::NotSupported
    )
}

/// What an autoscaler reads must be a number, whatever the schema says.
fn check_scale(paths: &ScalePaths, object: &Value) -> Option<Violation> {
    let (parent, _) = paths.spec_replicas.rsplit_once('.')?;
    let parent = scale::at(object, parent)?;
    let replicas = match scale::at(object, &paths.spec_replicas) {
        None if parent.is_object() => return None,
        found => found.unwrap_or(parent),
    };
    if replicas.as_i64().is_some_and(|replicas| replicas >= 0) {
        return None;
    }
    let detail = "should be a non-negative integer";
    Some(Violation::invalid(paths.spec_replicas.clone(), replicas, detail))
}

const SUBDOMAIN_HELP: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_HELP: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const KEY_HELP: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
/// Finalizers that need no domain.
const OWN_FINALIZERS: [&str; 3] = ["foregroundDeletion", "orphan", "kubernetes"];

fn check_finalizers(call: &mut Call<'_>, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, finalizer) in meta::finalizers(object).into_iter().enumerate() {
        let shown = Value::from(finalizer);
        let unqualified = !finalizer.contains('/') && !OWN_FINALIZERS.contains(&finalizer);
        if !is_label_key(finalizer) {
            found.push(Violation::invalid("metadata.finalizers", &shown, KEY_HELP));
        } else if unqualified && call.resource.custom.is_none() {
            let field = format!("metadata.finalizers[{index}]");
            found.push(Violation::invalid(
                field,
                &shown,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        } else if unqualified {
            call.warnings.push(format!(
                "metadata.finalizers: \"{finalizer}\": prefer a domain-qualified finalizer name to avoid accidental \
                 conflicts with other finalizer writers"
            ));
        }
    }
    found
}

fn check_owners(object: &Value) -> Vec<Violation> {
    let owners = meta::get(object, "ownerReferences").and_then(Value::as_array);
    let nameless = owners.into_iter().flatten().filter(|owner| {
        let uid = owner.get("uid").and_then(Value::as_str);
        uid.is_none_or(str::is_empty)
    });
    let violation = |owner: &Value| {
        let uid = owner.get("uid").cloned().unwrap_or_default();
        Violation::invalid("metadata.ownerReferences.uid", &uid, "uid must not be empty")
    };
    nameless.map(violation).collect()
}

/// Of all annotations of one object.
const ANNOTATIONS_LIMIT_BYTES: usize = 256 * 1024;

fn check_metadata(kind: &str, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    let name = meta::text(object, "name");
    let shown = Value::from(name);
    if kind == "Service" {
        if name.len() > 63 || !is_dns_label(name) {
            found.push(Violation::invalid("metadata.name", &shown, LABEL_HELP));
        }
    } else if name.len() > 253 || !name.split('.').all(is_dns_label) {
        found.push(Violation::invalid("metadata.name", &shown, SUBDOMAIN_HELP));
    }
    let prefix = meta::text(object, "generateName").trim_end_matches('-');
    if !found.is_empty() && !prefix.is_empty() && !prefix.split('.').all(is_dns_label) {
        let prefix = Value::from(prefix);
        found.push(Violation::invalid(
            "metadata.generateName",
            &prefix,
            SUBDOMAIN_HELP,
        ));
    }
    let labels = meta::get(object, "labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        if !is_label_key(key) {
            let key = Value::from(key.as_str());
            found.push(Violation::invalid("metadata.labels", &key, KEY_HELP));
        }
        if !value
            .as_str()
            .is_some_and(|value| value.is_empty() || is_label_word(value))
        {
            let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
            found.push(Violation::invalid("metadata.labels", value, detail));
        }
    }
    let mut size = 0;
    let annotations = meta::get(object, "annotations").and_then(Value::as_object);
    for (key, value) in annotations.into_iter().flatten() {
        if !is_label_key(&key.to_lowercase()) {
            let key = Value::from(key.as_str());
            found.push(Violation::invalid("metadata.annotations", &key, KEY_HELP));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT_BYTES {
        let detail = format!("may not be more than {ANNOTATIONS_LIMIT_BYTES} bytes");
        let violation = Violation::new("metadata.annotations", Reason::TooLong, &Value::Null, detail);
        found.push(violation);
    }
    found
}

/// Lower case letters, digits and dashes, no dash at either end.
fn is_dns_label(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
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
