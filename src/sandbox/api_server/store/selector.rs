//! Label and field selectors in the query syntax of the Kubernetes API.

use serde_json::Value;

use super::refusal::Refusal;
use crate::api::selector::LabelSelector;

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
    pub fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
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

    /// Narrows the selection to one object.
    pub fn require_name(&mut self, name: &str) {
        let path = "metadata.name".to_owned();
        self.fields.push(FieldRequirement {
            path,
            value: name.to_owned(),
            equal: true,
        });
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
