//! Which rules of a route we added a backend to, as an annotation of the route remembers them.
//!
//! `<canary Service> <rule> <rule>…`: a rule is named by what it matches and does, not by where it stands, because its
//! user may move it meanwhile. One whose user changes it meanwhile is not recognised: what we added to it stays, with
//! weight 0. A value without rules is of an older version, and means each rule that refers to the canary.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::object;

/// The rules that an annotation names.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    Every,
    These(BTreeSet<String>),
}

impl Added {
    pub fn read(mark: Option<&str>) -> Self {
        let rules = mark.map(|mark| mark.split_whitespace().skip(1).map(str::to_owned));
        let rules: Option<BTreeSet<String>> = rules.map(Iterator::collect);
        match rules {
            Some(rules) if rules.is_empty() => Added::Every,
            rules => Added::These(rules.unwrap_or_default()),
        }
    }

    pub fn has(&self, rule: &str) -> bool {
        match self {
            Added::Every => true,
            Added::These(rules) => rules.contains(rule),
        }
    }

    /// The annotation's value.
    pub fn write(&self, canary_service: &str) -> String {
        let rules = match self {
            Added::Every => None,
            Added::These(rules) => Some(rules),
        };
        let words = [canary_service].into_iter();
        let words: Vec<&str> = words
            .chain(rules.into_iter().flatten().map(String::as_str))
            .collect();
        words.join(" ")
    }
}

/// A name for each rule of a route, in order; of equal ones, the first is `…-0`.
pub fn rule_names(route: &Value) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut name = |rule: &Value| {
        let digest = Sha256::digest(sorted(&without_backends(rule)).to_string());
        let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let count = counts.entry(digest.clone()).or_default();
        *count += 1;
        format!("{digest}-{}", *count - 1)
    };
    object::list(route, "/spec/rules").iter().map(&mut name).collect()
}

fn without_backends(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.remove("backendRefs");
    }
    rule
}

/// With fields in one order, whatever order the map type keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields = fields.into_iter();
            Value::Object(fields.map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_has_its_name_wherever_it_stands_and_whatever_its_backends() {
        let rule = |path: &str, weight: i64| json!({"matches": [{"path": path}], "backendRefs": [{"weight": weight}]});
        let names = |rules: Value| rule_names(&json!({"spec": {"rules": rules}}));
        let before = names(json!([rule("/a", 1), rule("/b", 1), rule("/a", 1)]));
        let after = names(json!([rule("/b", 7), rule("/a", 8), rule("/a", 9)]));
        let [a, b, again] = before.as_slice() else {
            panic!()
        };
        assert_eq!(after, [b.clone(), a.clone(), again.clone()]);
        assert_ne!(a, again);
    }

    #[test]
    fn what_is_written_is_read_and_an_older_form_names_every_rule() {
        let two = Added::These(["a-0".to_owned(), "b-1".to_owned()].into());
        assert_eq!(two.write("canary"), "canary a-0 b-1");
        assert_eq!(Added::read(Some("canary a-0 b-1")), two);
        assert_eq!(Added::read(Some("canary")), Added::Every);
        assert_eq!(Added::Every.write("canary"), "canary");
        assert_eq!(Added::read(None), Added::These(BTreeSet::new()));
    }
}
