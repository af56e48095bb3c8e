//! The cases of policies.yaml fit the policies. An API server decides them in the end-to-end tests; here it is only
//! seen to that no rule is without a case that it refuses.

use std::fs;

use serde_json::Value;

use crate::helm::{objects, of_kind, root};

#[test]
fn every_rule_refuses_something() {
    let text = fs::read_to_string(root().join("tests/chart/policies.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let refusals: Vec<&str> = cases.iter().filter_map(|case| case["refused"].as_str()).collect();
    let rendered = objects(&[]);
    let rules = of_kind(&rendered, "ValidatingAdmissionPolicy")
        .into_iter()
        .flat_map(|policy| policy["spec"]["validations"].as_array().unwrap());
    let messages: Vec<&str> = rules.map(|rule| rule["message"].as_str().unwrap()).collect();
    assert!(messages.len() > 20, "{messages:?}");
    for message in &messages {
        assert!(
            refusals.iter().any(|refused| message.contains(refused)),
            "no case for: {message}"
        );
    }
    for refused in refusals {
        let by = messages.iter().filter(|message| message.contains(refused));
        assert_eq!(by.count(), 1, "{refused}");
    }
}
