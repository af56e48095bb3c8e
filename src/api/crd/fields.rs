//! The page of fields: what the schemas say, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::rules::REFUSED;
use super::{CrdError, schema_of};
use crate::api::duration;

/// What people write; the controller writes AnalysisRuns, and a ClusterAnalysisTemplate has the fields of the other.
const KINDS: [&str; 3] = ["Rollout", "AnalysisTemplate", "RolloutCommand"];
/// Kubernetes describes these.
const FOREIGN: [&str; 2] = ["spec.template", "spec.selector"];
const UNLESS_SET: &str = " unless set";

/// One field that can be written: refused ones are on the page about Argo Rollouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// `spec.strategy.canary.steps[].setWeight`
    pub path: String,
    pub kind_of_value: String,
    /// What holds unless it is set; empty where nothing does.
    pub default: String,
    pub meaning: String,
}

/// `docs/fields.md`.
pub fn render_page() -> Result<String, CrdError> {
    let mut page = "# Fields\n\n\
        Every field of `tidegate.dev/v1alpha1` that you write, its type, what holds unless you set it, and its meaning. Fields of\n\
        Argo Rollouts that are refused are in the [table about them](argo-rollouts-fields.md). `kubectl explain` shows the same.\n\
        A duration is a number with units (`30s`, `5m`, `1h30m`) or a number of seconds. This page is generated from the types in\n\
        `src/api`: `UPDATE=1 cargo test --test crds`.\n"
        .to_owned();
    for kind in KINDS {
        let _ = write!(
            page,
            "\n## {kind}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
        );
        for field in fields_of(kind)? {
            let Field {
                path,
                kind_of_value,
                default,
                meaning,
            } = field;
            let _ = writeln!(
                page,
                "| `{path}` | {kind_of_value} | {default} | {} |",
                meaning.replace('|', "\\|")
            );
        }
    }
    Ok(page)
}

/// The fields of the spec of `kind`, each after its parent.
pub fn fields_of(kind: &str) -> Result<Vec<Field>, CrdError> {
    let schema = schema_of(kind)?.unwrap_or_default();
    let mut fields = Vec::new();
    if let Some(spec) = schema.pointer("/properties/spec") {
        collect("spec", spec, &mut fields);
    }
    Ok(fields)
}

fn collect(path: &str, parent: &Value, fields: &mut Vec<Field>) {
    let properties = parent.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        if is_refused(schema) {
            continue;
        }
        let path = format!("{path}.{name}");
        let meaning = text(schema, "description").replace('\n', " ");
        fields.push(Field {
            kind_of_value: describe_type(schema),
            default: describe_default(parent, name, schema, &meaning),
            meaning,
            path: path.clone(),
        });
        if FOREIGN.contains(&path.as_str()) {
            continue;
        }
        collect(&path, schema, fields);
        if let Some(items) = schema.get("items") {
            collect(&format!("{path}[]"), items, fields);
        }
    }
}

fn is_refused(schema: &Value) -> bool {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    let mut rules = rules.into_iter().flatten();
    rules.any(|rule| text(rule, "rule") == REFUSED)
}

fn describe_type(schema: &Value) -> String {
    let pattern = text(schema, "pattern");
    let open = schema.get("x-kubernetes-int-or-string").is_some();
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    match text(schema, "type") {
        _ if open && pattern == duration::PATTERN => "duration".to_owned(),
        _ if open && pattern.ends_with("%$") => "number or percentage".to_owned(),
        _ if open && pattern.is_empty() => "duration".to_owned(),
        _ if open => "number, or `\"{{args.x}}\"`".to_owned(),
        "array" => "list".to_owned(),
        "object" if schema.get("additionalProperties").is_some() => "map".to_owned(),
        "integer" => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(least), Some(most)) => format!("integer, {least} to {most}"),
            (Some(least), None) => format!("integer, at least {least}"),
            _ => "integer".to_owned(),
        },
        other => other.to_owned(),
    }
}

fn describe_default(parent: &Value, name: &str, schema: &Value, meaning: &str) -> String {
    let required = parent.get("required").and_then(Value::as_array);
    if required.into_iter().flatten().any(|required| required == name) {
        return "required".to_owned();
    }
    if let Some((before, _)) = meaning.split_once(UNLESS_SET) {
        let begins = ["; ", ". ", ", ", ": "]
            .iter()
            .filter_map(|mark| before.rfind(mark))
            .max();
        return begins
            .and_then(|at| before.get(at + 2..))
            .unwrap_or(before)
            .to_owned();
    }
    match text(schema, "type") {
        "boolean" => "`false`".to_owned(),
        _ => String::new(),
    }
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node.get(key).and_then(Value::as_str).unwrap_or_default()
}
