//! Label selectors in the query syntax of the Kubernetes API.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// Which objects are meant; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Objects without the label pass too, as in Kubernetes.
    NotIn(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unable to parse requirement: found '{0}', expected: key, key=value, key in (a,b)")]
pub struct SelectorError(String);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = split_outside_parentheses(text).into_iter();
        let requirements = parts.map(|part| parse_requirement(part.trim()));
        let mut requirements = requirements.collect::<Result<Vec<_>, _>>()?;
        requirements.sort();
        Ok(LabelSelector(requirements))
    }

    pub fn selects_all(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|wanted| wanted.matches(labels))
    }
}

/// As the API server takes it; the same for everything that was written with other spaces or in another order.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Requirement::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requirement::Exists(key) => f.write_str(key),
            Requirement::Absent(key) => write!(f, "!{key}"),
            Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
            Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
        }
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

fn parse_requirement(text: &str) -> Result<Requirement, SelectorError> {
    let unreadable = || SelectorError(text.to_owned());
    let key = |text: &str| {
        let key = text.trim();
        let valid = !key.is_empty()
            && !key.contains(|letter: char| letter.is_whitespace() || "()=!,<>".contains(letter));
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
    let mut values: Vec<String> = set.split(',').map(|value| value.trim().to_owned()).collect();
    values.sort();
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, "in"] => Ok(Requirement::In(key(name)?, values)),
        [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
        _ => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_read_as_the_api_server_reads_them() {
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
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches(&object), expected, "{text}");
            assert_eq!(
                LabelSelector::parse(&selector.to_string()),
                Ok(selector),
                "{text}"
            );
        }
        for text in ["app in web", "a b", "=x", "app in (a", "shard>3", "shard < 3"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }
}
