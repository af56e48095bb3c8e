//! Built-in kinds: which fields they know, a few defaults, and the validation that users rely on.
//!
//! Known fields are those of k8s-openapi's types: what does not survive a round trip through the type is
//! unknown. Only rules that a Rollout's author meets are here; the rest is left to a real API server.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event as NewEvent;
use k8s_openapi::api::networking::v1::Ingress;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::meta;
use super::registry::Resource;
use crate::api::schema::{FieldPath, Reason, Violation};

/// Removes the fields that the kind does not know and returns their paths; an error is a field of a wrong type.
pub(super) fn prune(resource: &Resource, object: &mut Value) -> Result<Vec<String>, serde_json::Error> {
    let known = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "ConfigMap") => round_trip::<ConfigMap>(object),
        ("", "Event") => round_trip::<Event>(object),
        ("", "Namespace") => round_trip::<Namespace>(object),
        ("", "Node") => round_trip::<Node>(object),
        ("", "Pod") => round_trip::<Pod>(object),
        ("", "Secret") => round_trip::<Secret>(object),
        ("", "Service") => round_trip::<Service>(object),
        ("", "ServiceAccount") => round_trip::<ServiceAccount>(object),
        ("apps", "Deployment") => round_trip::<Deployment>(object),
        ("apps", "ReplicaSet") => round_trip::<ReplicaSet>(object),
        ("batch", "Job") => round_trip::<Job>(object),
        ("coordination.k8s.io", "Lease") => round_trip::<Lease>(object),
        ("discovery.k8s.io", "EndpointSlice") => round_trip::<EndpointSlice>(object),
        ("events.k8s.io", "Event") => round_trip::<NewEvent>(object),
        ("networking.k8s.io", "Ingress") => round_trip::<Ingress>(object),
        _ => return Ok(Vec::new()),
    };
    let mut removed = Vec::new();
    remove_unknown(object, &known?, &FieldPath::ROOT, &mut removed);
    Ok(removed)
}

fn round_trip<T: Serialize + DeserializeOwned>(object: &Value) -> Result<Value, serde_json::Error> {
    let typed = T::deserialize(object)?;
    serde_json::to_value(typed)
}

fn remove_unknown(object: &mut Value, known: &Value, path: &FieldPath<'_>, removed: &mut Vec<String>) {
    match (object, known) {
        (Value::Object(fields), Value::Object(known)) => fields.retain(|name, value| {
            let path = path.child(name);
            match known.get(name) {
                Some(known) => remove_unknown(value, known, &path, removed),
                // A null says the same as an absent field, and the types leave it out.
                None if value.is_null() => return false,
                None => {
                    removed.push(path.to_string());
                    return false;
                }
            }
            true
        }),
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, known)) in items.iter_mut().zip(known).enumerate() {
                remove_unknown(item, known, &path.index(index), removed);
            }
        }
        _ => {}
    }
}

/// The defaults that our readers depend on.
pub(super) fn complete(resource: &Resource, object: &mut Value) {
    let defaults: &[(&str, Value)] = match resource.kind.as_str() {
        "ReplicaSet" | "Deployment" => &[("spec.replicas", json!(1)), ("status", json!({"replicas": 0}))],
        "Pod" => &[
            ("spec.restartPolicy", json!("Always")),
            ("spec.terminationGracePeriodSeconds", json!(30)),
            ("status", json!({"phase": "Pending", "qosClass": "BestEffort"})),
        ],
        "Service" => &[
            ("spec.type", json!("ClusterIP")),
            ("spec.sessionAffinity", json!("None")),
            ("status", json!({"loadBalancer": {}})),
        ],
        "Ingress" => &[("status", json!({"loadBalancer": {}}))],
        "Namespace" => &[
            ("status", json!({"phase": "Active"})),
            ("spec", json!({"finalizers": ["kubernetes"]})),
        ],
        "Secret" => &[("type", json!("Opaque"))],
        _ => &[],
    };
    for (path, default) in defaults {
        fill(object, path, default);
    }
    if resource.kind == "Namespace" {
        let name = meta::text(object, "name").to_owned();
        fill(object, "metadata.labels", &json!({}));
        if let Some(Value::Object(labels)) = object.pointer_mut("/metadata/labels") {
            labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
        }
    }
    if resource.kind == "Service" {
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            let number = port.get("port").cloned().unwrap_or_default();
            fill(port, "protocol", &json!("TCP"));
            fill(port, "targetPort", &number);
        }
    }
}

/// Sets a field that is absent, provided its parent is there.
fn fill(object: &mut Value, path: &str, default: &Value) {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (
            object.pointer_mut(&format!("/{}", parent.replace('.', "/"))),
            name,
        ),
        None => (Some(object), path),
    };
    if let Some(Value::Object(fields)) = parent {
        fields.entry(name).or_insert_with(|| default.clone());
    }
}

pub(super) fn validate(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let mut found = Vec::new();
    match resource.kind.as_str() {
        "ReplicaSet" | "Deployment" => check_replicated(object, old, &mut found),
        "Pod" => check_pod_spec(object, "spec", &mut found),
        "Job" => check_pod_spec(object, "spec.template.spec", &mut found),
        "Service" => check_service(object, &mut found),
        "Ingress" => check_ingress(object, &mut found),
        "EndpointSlice" => check_endpoint_slice(object, old, &mut found),
        "Event" if resource.group == "events.k8s.io" && old.is_none() => check_event(object, &mut found),
        "Lease" => check_lease(object, &mut found),
        _ => {}
    }
    found
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    object
        .pointer(&format!("/{}", path.replace('.', "/")))
        .filter(|value| !value.is_null())
}

fn check_replicated(object: &Value, old: Option<&Value>, found: &mut Vec<Violation>) {
    if let Some(replicas) = at(object, "spec.replicas")
        && replicas.as_i64().is_some_and(|replicas| replicas < 0)
    {
        found.push(Violation::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        ));
    }
    let selector = at(object, "spec.selector").filter(|selector| **selector != json!({}));
    match selector {
        None => found.push(Violation::required("spec.selector", "")),
        Some(selector) => {
            let labels = at(object, "spec.template.metadata.labels")
                .cloned()
                .unwrap_or_default();
            let wanted = selector.get("matchLabels").and_then(Value::as_object);
            if wanted
                .into_iter()
                .flatten()
                .any(|(name, value)| labels.get(name) != Some(value))
            {
                let detail = "`selector` does not match template `labels`";
                found.push(Violation::invalid(
                    "spec.template.metadata.labels",
                    &labels,
                    detail,
                ));
            }
        }
    }
    if let (Some(old), Some(selector)) = (old, selector)
        && at(old, "spec.selector") != Some(selector)
    {
        found.push(Violation::invalid(
            "spec.selector",
            selector,
            "field is immutable",
        ));
    }
    check_pod_spec(object, "spec.template.spec", found);
}

fn check_pod_spec(object: &Value, path: &str, found: &mut Vec<Violation>) {
    let containers = at(object, &format!("{path}.containers")).and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        found.push(Violation::required(format!("{path}.containers"), ""));
    }
    for (index, container) in containers.into_iter().flatten().enumerate() {
        let path = format!("{path}.containers[{index}]");
        for field in ["name", "image"] {
            if container
                .get(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                found.push(Violation::required(format!("{path}.{field}"), ""));
            }
        }
        for kind in ["limits", "requests"] {
            let amounts = at(container, &format!("resources.{kind}")).and_then(Value::as_object);
            for (resource, amount) in amounts.into_iter().flatten() {
                check_quantity(amount, format!("{path}.resources.{kind}.{resource}"), found);
            }
        }
    }
}

fn check_quantity(amount: &Value, field: String, found: &mut Vec<Violation>) {
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    let digits = text
        .trim_start_matches(['+', '-'])
        .trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let has_number = digits.len() < text.len() && text.contains(|letter: char| letter.is_ascii_digit());
    let known = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let exponent = digits
        .strip_prefix(['e', 'E'])
        .is_some_and(|power| power.parse::<i32>().is_ok());
    if !has_number || !(known.contains(&digits) || exponent) {
        let detail =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        found.push(Violation::invalid(field, amount, detail));
    }
}

fn check_service(object: &Value, found: &mut Vec<Violation>) {
    let external = at(object, "spec.type").is_some_and(|kind| kind == "ExternalName");
    let headless = at(object, "spec.clusterIP").is_some_and(|address| address == "None");
    let ports = at(object, "spec.ports").and_then(Value::as_array);
    if !external && !headless && ports.is_none_or(Vec::is_empty) {
        found.push(Violation::required("spec.ports", ""));
    }
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let number = port.get("port").cloned().unwrap_or_default();
        if !number
            .as_i64()
            .is_some_and(|number| (1..=65535).contains(&number))
        {
            let field = format!("spec.ports[{index}].port");
            found.push(Violation::invalid(
                field,
                &number,
                "must be between 1 and 65535, inclusive",
            ));
        }
    }
}

fn check_ingress(object: &Value, found: &mut Vec<Violation>) {
    let rules = at(object, "spec.rules").and_then(Value::as_array);
    if rules.is_none_or(Vec::is_empty) && at(object, "spec.defaultBackend").is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        found.push(Violation::invalid("spec", &json!(null), detail));
    }
    for (rule_index, rule) in rules.into_iter().flatten().enumerate() {
        let paths = at(rule, "http.paths").and_then(Value::as_array);
        for (index, path) in paths.into_iter().flatten().enumerate() {
            let field = format!("spec.rules[{rule_index}].http.paths[{index}]");
            check_ingress_path(path, &field, found);
        }
    }
}

fn check_ingress_path(entry: &Value, field: &str, found: &mut Vec<Violation>) {
    let kind = entry.get("pathType").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "" => found.push(Violation::required(
            format!("{field}.pathType"),
            "pathType must be specified",
        )),
        "Exact" | "Prefix" | "ImplementationSpecific" => {}
        other => {
            let detail = "supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"";
            let field = format!("{field}.pathType");
            found.push(Violation::new(field, Reason::NotSupported, &json!(other), detail));
        }
    }
    let path = entry.get("path").and_then(Value::as_str).unwrap_or_default();
    let may_be_empty = kind == "ImplementationSpecific";
    let fits = path.starts_with('/') || may_be_empty && path.is_empty();
    if !fits {
        let detail = "must be an absolute path";
        found.push(Violation::invalid(format!("{field}.path"), &json!(path), detail));
    }
}

fn check_event(object: &Value, found: &mut Vec<Violation>) {
    for field in [
        "eventTime",
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
    ] {
        if object
            .get(field)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            found.push(Violation::required(field, ""));
        }
    }
    if object.get("reportingController").is_none() {
        let detail = "name part must be non-empty";
        found.push(Violation::invalid("reportingController", &Value::Null, detail));
    }
    let kind = object.get("type").cloned().unwrap_or_default();
    if kind != "Normal" && kind != "Warning" {
        found.push(Violation::invalid("type", &kind, "must be Normal or Warning"));
    }
    let note = object.get("note").and_then(Value::as_str).unwrap_or_default();
    if note.len() > 1024 {
        found.push(Violation::invalid(
            "message",
            &json!(note),
            "can have at most 1024 characters",
        ));
    }
}

fn check_lease(object: &Value, found: &mut Vec<Violation>) {
    if let Some(seconds) = at(object, "spec.leaseDurationSeconds")
        && seconds.as_i64().is_some_and(|seconds| seconds <= 0)
    {
        let detail = "must be greater than 0";
        found.push(Violation::invalid("spec.leaseDurationSeconds", seconds, detail));
    }
}

fn check_endpoint_slice(object: &Value, old: Option<&Value>, found: &mut Vec<Violation>) {
    let kind = at(object, "addressType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kind.is_empty() {
        found.push(Violation::required("addressType", ""));
    } else if !["IPv4", "IPv6", "FQDN"].contains(&kind) {
        let detail = "supported values: \"FQDN\", \"IPv4\", \"IPv6\"";
        found.push(Violation::new(
            "addressType",
            Reason::NotSupported,
            &json!(kind),
            detail,
        ));
    } else if old.is_some_and(|old| at(old, "addressType").and_then(Value::as_str) != Some(kind)) {
        found.push(Violation::invalid(
            "addressType",
            &json!(kind),
            "field is immutable",
        ));
    }
}
