//! Label and field selectors in the query syntax of the Kubernetes API.

use serde_json::Value;

use super::refusal::Refusal;

/// Which objects a list, a watch or a collection delete is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Objects without the label pass too, as in Kubernetes.
    NotIn(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldRequirement {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    pub fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let labels = split_outside_parentheses(labels.unwrap_or_default())
            .into_iter()
            .map(|part| parse_requirement(part.trim()))
            .collect::<Result<_, _>>()?;
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
        let labels = object.pointer("/metadata/labels");
        self.labels.iter().all(|wanted| wanted.matches(labels))
            && self.fields.iter().all(|wanted| wanted.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: Option<&Value>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        match self {
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
            Requirement::In(key, wanted) => {
                value(key).is_some_and(|found| wanted.iter().any(|one| one == found))
            }
            Requirement::NotIn(key, refused) => {
                value(key).is_none_or(|found| refused.iter().all(|one| one != found))
            }
        }
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

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0i32;
    text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
    .collect()
}

fn parse_requirement(text: &str) -> Result<Requirement, Refusal> {
    let unreadable = || {
        Refusal::bad_request(format!(
            "unable to parse requirement: found '{text}', expected: key, key=value, key in (a,b)"
        ))
    };
    let key = |text: &str| {
        let key = text.trim();
        let valid = !key.is_empty()
            && !key.contains(|letter: char| letter.is_whitespace() || "()=!,".contains(letter));
        valid.then(|| key.to_owned()).ok_or_else(unreadable)
    };
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Absent(key(name)?));
    }
    let Some((head, set)) = text.split_once('(') else {
        return Ok(Requirement::Exists(key(text)?));
    };
    let set = set.strip_suffix(')').ok_or_else(unreadable)?;
    let values = set.split(',').map(|value| value.trim().to_owned()).collect();
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, "in"] => Ok(Requirement::In(key(name)?, values)),
        [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
        _ => Err(unreadable()),
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
    fn label_selectors() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        let table = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("missing!=x", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("app in (api, web),tier", true),
            ("app notin (api,web)", false),
            ("missing notin (a)", true),
        ];
        for (text, expected) in table {
            let selector = Selector::parse(Some(text), None).expect(text);
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
        for text in ["app in web", "a b", "=x", "app in (a"] {
            assert_eq!(
                Selector::parse(Some(text), None).expect_err(text).code,
                400,
                "{text}"
            );
        }
    }

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
    }
}
