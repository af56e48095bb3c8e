//! Turns a CustomResourceDefinition into a served resource.
//!
//! One version is served per definition: the storage version. More than one served version is refused,
//! because there is no conversion.

use serde_json::Value;

use super::cel::Rules;
use super::refusal::Refusal;
use super::registry::{Column, Resource, ScalePaths};
use crate::api::schema::Violation;

/// What a custom resource has beyond a built-in one.
#[derive(Debug)]
pub struct CustomResource {
    pub schema: Value,
    pub rules: Rules,
}

/// Reads a definition; a rule that does not compile or a field that is not understood refuses the whole of it.
pub(super) fn resource(definition: &Value) -> Result<Resource, Refusal> {
    let reader = Reader { definition };
    let version = reader.served_version()?;
    let schema = version.pointer("/schema/openAPIV3Schema").cloned();
    let schema = schema.ok_or_else(|| reader.missing("spec.versions[0].schema.openAPIV3Schema"))?;
    let rules = Rules::compile(&schema).map_err(|violations| reader.refuse(&violations))?;
    let group = reader.text("/spec/group")?;
    let plural = reader.text("/spec/names/plural")?;
    let kind = reader.text("/spec/names/kind")?;
    let expected = format!("{plural}.{group}");
    if reader.name() != expected {
        let detail = format!("must be spec.names.plural+\".\"+spec.group: \"{expected}\"");
        let name = Value::from(reader.name());
        return Err(reader.refuse(&[Violation::invalid("metadata.name", &name, detail)]));
    }
    let names = |field: &str| texts(definition.pointer(&format!("/spec/names/{field}")));
    let optional = |pointer: &str| {
        definition
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Ok(Resource {
        version: version
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        singular: optional("/spec/names/singular").unwrap_or_else(|| kind.to_lowercase()),
        list_kind: optional("/spec/names/listKind").unwrap_or_else(|| format!("{kind}List")),
        namespaced: optional("/spec/scope").as_deref() != Some("Cluster"),
        short_names: names("shortNames"),
        categories: names("categories"),
        has_status: version.pointer("/subresources/status").is_some(),
        scale: version.pointer("/subresources/scale").map(scale_paths),
        has_generation: true,
        columns: columns(version),
        key: format!("{group}/{plural}"),
        custom: Some(CustomResource { schema, rules }),
        group,
        plural,
        kind,
    })
}

struct Reader<'a> {
    definition: &'a Value,
}

impl<'a> Reader<'a> {
    fn name(&self) -> &'a str {
        self.definition
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn refuse(&self, violations: &[Violation]) -> Refusal {
        let subject = super::refusal::Subject {
            group: "apiextensions.k8s.io",
            resource: "customresourcedefinitions",
            kind: "CustomResourceDefinition",
            name: self.name(),
        };
        Refusal::invalid(subject, violations)
    }

    fn missing(&self, field: &str) -> Refusal {
        self.refuse(&[Violation::required(field, "")])
    }

    fn text(&self, pointer: &str) -> Result<String, Refusal> {
        let text = self.definition.pointer(pointer).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or_else(|| self.missing(pointer.trim_start_matches('/').replace('/', ".").as_str()))
    }

    fn served_version(&self) -> Result<&'a Value, Refusal> {
        let versions = self
            .definition
            .pointer("/spec/versions")
            .and_then(Value::as_array);
        let is_served = |version: &&Value| version.get("served").and_then(Value::as_bool).unwrap_or(false);
        let served: Vec<&Value> = versions.into_iter().flatten().filter(is_served).collect();
        match served.as_slice() {
            [only] => Ok(only),
            [] => Err(self.missing("spec.versions")),
            several => {
                let detail = "the sandbox serves one version per definition: it does not convert objects";
                let count = Value::from(several.len());
                Err(self.refuse(&[Violation::invalid("spec.versions", &count, detail)]))
            }
        }
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn scale_paths(scale: &Value) -> ScalePaths {
    let path = |name: &str| scale.get(name).and_then(Value::as_str).map(str::to_owned);
    ScalePaths {
        spec_replicas: path("specReplicasPath").unwrap_or_default(),
        status_replicas: path("statusReplicasPath").unwrap_or_default(),
        label_selector: path("labelSelectorPath"),
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let text = |column: &Value, field: &str| {
        column
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let listed = version.get("additionalPrinterColumns").and_then(Value::as_array);
    let mut columns: Vec<Column> = listed
        .into_iter()
        .flatten()
        .map(|column| Column {
            name: text(column, "name"),
            column_type: text(column, "type"),
            json_path: text(column, "jsonPath"),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            description: text(column, "description"),
        })
        .collect();
    if columns.is_empty() {
        columns.push(Column {
            name: "Age".to_owned(),
            column_type: "date".to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            priority: 0,
            description: String::new(),
        });
    }
    columns
}
