//! The status of an object by the rules that kstatus has published for custom resources. Flux waits by them, and so do
//! `flux`, `kpt` and whatever else is built on that library.

use serde_json::Value;

use crate::stage;

/// InProgress, Failed, Current or Terminating, and why.
fn compute(object: &Value) -> (&'static str, String) {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return ("Terminating", String::new());
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return ("InProgress", "the newest generation is not observed".to_owned());
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let message = |condition: &Value| condition["message"].as_str().unwrap_or_default().to_owned();
    // In the order in which they stand.
    for condition in conditions.clone() {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return ("InProgress", message(condition)),
            (Some("Stalled"), Some("True")) => return ("Failed", message(condition)),
            _ => {}
        }
    }
    for condition in conditions {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Ready"), Some("True")) => return ("Current", message(condition)),
            (Some("Ready"), Some("False" | "Unknown")) => return ("InProgress", message(condition)),
            _ => {}
        }
    }
    ("Current", "there is nothing that says otherwise".to_owned())
}

#[test]
fn kstatus_knows_how_a_rollout_stands() {
    let stages = stage::all();
    for stage in &stages {
        let (status, message) = compute(&stage.rollout);
        assert_eq!(
            status, stage.status,
            "{}: {message}\n{}",
            stage.name, stage.rollout["status"]
        );
    }
    println!("{} stages", stages.len());
}

/// Tools that read one condition alone, such as `kubectl wait`, must come to the same end.
#[test]
fn no_two_conditions_say_different_things() {
    for stage in stage::all()
        .iter()
        .filter(|stage| !stage.rollout["status"].is_null())
    {
        let holds = |name: &str| {
            let conditions = stage.rollout["status"]["conditions"].as_array().unwrap();
            let found: Vec<_> = conditions
                .iter()
                .filter(|condition| condition["type"] == name)
                .collect();
            assert_eq!(found.len(), 1, "{name} of {}", stage.name);
            found[0]["status"] == "True"
        };
        let told: Vec<&str> = ["Ready", "Reconciling", "Stalled"]
            .into_iter()
            .filter(|name| holds(name))
            .collect();
        assert_eq!(told.len(), 1, "{}: {told:?}", stage.name);
    }
}

#[test]
fn a_rollout_that_is_deleted_is_terminating() {
    let mut rollout = stage::all().pop().unwrap().rollout;
    rollout["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z".into();
    assert_eq!(compute(&rollout).0, "Terminating");
}
