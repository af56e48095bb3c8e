//! Label and field selectors in the query syntax of the Kubernetes API.

use serde_json::Value;

use super::refusal::Refusal;
use super::registry::Resource;
use super::request::ApiRequest;
use crate::api::selector::LabelSelector;

/// The fields by which built-in kinds can be selected, beyond name and namespace.
const FIELDS: &[(&str, &[&str])] = &[
    ("Namespace", &["status.phase"]),
    ("Node", &["spec.unschedulable"]),
    (
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("Secret", &["type"]),
    ("Service", &["spec.clusterIP", "spec.type"]),
    ("ReplicaSet", &["status.replicas"]),
    ("Job", &["status.successful"]),
    (
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
    ),
];

/// Which objects a list, a watch or a collection delete is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    labels: LabelSelector,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq)]
struct FieldRequirement {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// What a request selects of a resource.
    pub fn of(request: &ApiRequest, resource: &Resource) -> Result<Self, Refusal> {
        let selector = Selector::parse(request.param("labelSelector"), request.param("fieldSelector"))?;
        let known = |path: &str| {
            let own = FIELDS.iter().find(|(kind, _)| *kind == resource.kind);
            let own = own
                .filter(|_| resource.custom.is_none())
                .map_or(&[][..], |(_, fields)| fields);
            ["metadata.name", "metadata.namespace"].contains(&path) || own.contains(&path)
        };
        match selector.fields.iter().find(|wanted| !known(&wanted.path)) {
            None => Ok(selector),
            Some(unknown) => Err(Refusal::bad_request(format!(
                "field label not supported: {}",
                unknown.path
            ))),
        }
    }

    /// Whether it selects some objects and not others.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let labels = LabelSelector::parse(labels.unwrap_or_default())
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        let fields = fields
            .unwrap_or_default()
            .split(',')
            .filter(|part| !part.is_empty())
            .map(parse_field)
            .collect::<Result<_, _>>()?;
        Ok(Selector { labels, fields })
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.iter().all(|wanted| wanted.matches(object))
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let pointer = format!("/{}", self.path.replace('.', "/"));
        let found = match object.pointer(&pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        (found == self.value) == self.equal
    }
}

fn parse_field(text: &str) -> Result<FieldRequirement, Refusal> {
    let (path, value, equal) = if let Some((path, value)) = text.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (path, value, true)
    } else {
        let message = format!("invalid field selector: '{text}'; can't understand it");
        return Err(Refusal::bad_request(message));
    };
    Ok(FieldRequirement {
        path: path.trim().to_owned(),
        value: value.trim().to_owned(),
        equal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_selectors() {
        let object = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}, "spec": {}});
        let table = [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("metadata.name=a,status.phase==Running", true),
            ("spec.nodeName=", true),
            ("spec.nodeName=x", false),
        ];
        for (text, expected) in table {
            let selector = Selector::parse(None, Some(text)).expect(text);
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
        assert!(Selector::parse(None, Some("metadata.name")).is_err());
        assert_eq!(Selector::parse(Some("a b"), None).expect_err("a b").code, 400);
    }
}
