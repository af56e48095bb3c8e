//! Types, ranges, unknown and unsupported fields: the CRD's own schema, applied again by the controller.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::violation::{Findings, InvalidReason};
use crate::api::argo::unsupported_fields;
use crate::api::crd;
use crate::api::duration::{self, Duration};
use crate::api::schema::{self, Reason};

struct Schemas {
    rollout: Option<Value>,
    template: Option<Value>,
}

/// Deriving the schemas costs milliseconds; they never change. A schema is missing only when a table of
/// `api::crd` names a field that is not there, and then `tests/crds.rs` fails.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let schema_of = |kind| crd::schema_of(kind).ok().flatten();
    Schemas {
        rollout: schema_of("Rollout"),
        template: schema_of("AnalysisTemplate"),
    }
});

/// Adds what the schema of `kind` finds in the spec of `object`; returns the spec without nulls.
pub(super) fn check(kind: &str, object: &Value, findings: &mut Findings) -> Value {
    let schema = match kind {
        "Rollout" => &SCHEMAS.rollout,
        _ => &SCHEMAS.template,
    };
    let mut object = json!({"spec": object.get("spec").cloned().unwrap_or(Value::Null)});
    for found in unsupported_fields(kind, &object) {
        findings
            .about(InvalidReason::UnsupportedField)
            .add(found.path, found.message, "");
    }
    if let Some(schema) = schema {
        schema::complete(schema, &mut object);
        for violation in schema::validate(schema, &object) {
            add(violation, &object, findings);
        }
        for path in schema::prune(schema, &mut object) {
            let fix = "correct its spelling or remove it";
            findings
                .about(InvalidReason::UnknownField)
                .add(path.as_str(), "is not a field of Tidegate", fix);
        }
    }
    object.get_mut("spec").map(Value::take).unwrap_or_default()
}

fn add(violation: schema::Violation, object: &Value, findings: &mut Findings) {
    let reason = match violation.reason {
        Reason::Required => InvalidReason::RequiredField,
        _ => InvalidReason::InvalidField,
    };
    let value = value_at(object, &violation.field);
    let is_duration = violation.detail.contains(duration::PATTERN);
    let wrong_duration = value
        .and_then(Value::as_str)
        .filter(|_| is_duration)
        .map(Duration::parse);
    let (message, fix) = match wrong_duration {
        Some(Err(error)) => (error.to_string(), String::new()),
        _ => pattern_in_words(&violation, value).unwrap_or_else(|| (violation.message(), String::new())),
    };
    findings.about(reason).add(violation.field, message, &fix);
}

/// Regular expressions explain nothing to the one who has to mend the field.
fn pattern_in_words(violation: &schema::Violation, value: Option<&Value>) -> Option<(String, String)> {
    let value = value.filter(|_| violation.detail.contains("should match '"))?;
    let fix = match violation.field.rsplit('.').next()? {
        "maxSurge" | "maxUnavailable" => "write a number of pods, or a percentage from \"0%\" to \"100%\"",
        "canaryService" | "stableService" => "write the name of a Service in the Rollout's namespace",
        "url" | "address" => "write http://host:port, without a user, query or fragment",
        "annotationPrefix" => "write a DNS name, for example nginx.ingress.kubernetes.io",
        "interval" => "write at least 1s",
        "timeout" => "write at most 60s",
        "count" => "write a number from 1, or \"{{args.<name>}}\"",
        name if name.ends_with("Limit") => "write a number, or \"{{args.<name>}}\"",
        _ if violation.field.contains("Annotations.") => {
            "leave out line breaks, quotes, backslashes, braces and semicolons"
        }
        _ => "write the name of an object in the Rollout's namespace",
    };
    Some((format!("{value} is not allowed"), fix.to_owned()))
}

/// `spec.strategy.canary.steps[2].pause` in `object`; nothing for keys that have dots themselves.
fn value_at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    for segment in path.split('.') {
        let mut parts = segment.split('[');
        value = value.get(parts.next()?)?;
        for index in parts {
            value = value.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    Some(value)
}
