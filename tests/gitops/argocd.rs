//! The scripts of `gitops/argocd/argocd-cm.yaml`, run as Argo CD runs them: in Lua 5.1 with nothing but the basic functions,
//! tables, and two functions of `os`.

use std::collections::{BTreeMap, BTreeSet};

use mlua::{Lua, LuaOptions, LuaSerdeExt, SerializeOptions, StdLib};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate::api::rollout_command::{RolloutCommand, Verb};

use crate::stage;

const CONFIG: &str = include_str!("../../gitops/argocd/argocd-cm.yaml");
const RBAC: &str = include_str!("../../gitops/argocd/rbac.yaml");

#[derive(Deserialize)]
struct Config {
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(rename = "discovery.lua")]
    discovery: String,
    definitions: Vec<Definition>,
}

#[derive(Deserialize)]
struct Definition {
    name: String,
    #[serde(rename = "action.lua")]
    action: String,
}

fn customization(what: &str, kind: &str) -> String {
    let config: Config = serde_saphyr::from_str(CONFIG).unwrap();
    config.data[&format!("resource.customizations.{what}.tidegate.dev_{kind}")].clone()
}

fn actions() -> Actions {
    serde_saphyr::from_str(&customization("actions", "Rollout")).unwrap()
}

fn run(script: &str, object: &Value) -> Value {
    let lua = Lua::new_with(
        StdLib::TABLE | StdLib::PACKAGE | StdLib::OS,
        LuaOptions::default(),
    )
    .unwrap();
    let os: mlua::Table = lua.globals().get("os").unwrap();
    for pair in os.clone().pairs::<String, mlua::Value>() {
        let (name, _) = pair.unwrap();
        if name != "date" && name != "time" {
            os.raw_remove(name).unwrap();
        }
    }
    // A field that is null is a field that is not there.
    let options = SerializeOptions::new()
        .set_array_metatable(false)
        .serialize_none_to_null(false)
        .serialize_unit_to_null(false);
    let object = lua.to_value_with(object, options).unwrap();
    lua.globals().set("obj", object).unwrap();
    let answer = lua
        .load(script)
        .eval()
        .unwrap_or_else(|error| panic!("{error}\n{script}"));
    lua.from_value(answer).unwrap()
}

#[test]
fn health_says_how_a_rollout_stands() {
    let script = customization("health", "Rollout");
    let mut seen = BTreeSet::new();
    for stage in stage::all() {
        let health = run(&script, &stage.rollout);
        assert_eq!(health["status"], stage.health, "{}: {health}", stage.name);
        let message = health["message"].as_str().unwrap();
        assert!(message.contains(stage.message), "{}: {message}", stage.name);
        seen.insert(stage.health);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["Degraded", "Healthy", "Progressing", "Suspended"]
    );
}

#[test]
fn health_of_analysis_runs_and_commands() {
    for (kind, phase, health) in [
        ("AnalysisRun", None, "Progressing"),
        ("AnalysisRun", Some("Pending"), "Progressing"),
        ("AnalysisRun", Some("Running"), "Progressing"),
        ("AnalysisRun", Some("Successful"), "Healthy"),
        ("AnalysisRun", Some("Failed"), "Degraded"),
        ("AnalysisRun", Some("Error"), "Degraded"),
        ("AnalysisRun", Some("Inconclusive"), "Unknown"),
        ("AnalysisRun", Some("Terminated"), "Unknown"),
        ("RolloutCommand", None, "Progressing"),
        ("RolloutCommand", Some("Accepted"), "Healthy"),
        ("RolloutCommand", Some("Refused"), "Degraded"),
        ("RolloutCommand", Some("Expired"), "Degraded"),
    ] {
        let script = customization("health", kind);
        let object = match phase {
            Some(phase) => json!({"kind": kind, "status": {"phase": phase, "message": "because"}}),
            None => json!({"kind": kind}),
        };
        let answer = run(&script, &object);
        assert_eq!(answer["status"], health, "{kind} {phase:?}");
        assert!(phase.is_none() || answer["message"] == "because", "{answer}");
    }
}

#[test]
fn actions_are_offered_when_they_can_be_taken() {
    let actions = actions();
    let defined: BTreeSet<&str> = actions
        .definitions
        .iter()
        .map(|action| action.name.as_str())
        .collect();
    for stage in stage::all() {
        let found = run(&actions.discovery, &stage.rollout);
        let found = found.as_object().unwrap();
        assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), defined);
        let offered = found.iter().filter(|(_, action)| action["disabled"] == false);
        let offered: BTreeSet<&str> = offered.map(|(name, _)| name.as_str()).collect();
        assert_eq!(offered, stage.actions.iter().copied().collect(), "{}", stage.name);
    }
}

/// The one object that an action creates, as the API server would read it.
fn created(action: &str, rollout: &Value) -> (Value, RolloutCommand) {
    let actions = actions();
    let definition = actions
        .definitions
        .iter()
        .find(|found| found.name == action)
        .unwrap();
    let answer = run(&definition.action, rollout);
    let [impacted] = answer.as_array().unwrap().as_slice() else {
        panic!("{answer}");
    };
    assert_eq!(impacted["operation"], "create");
    let object = &impacted["resource"];
    // An empty table of Lua would arrive as a list.
    assert!(!object.to_string().contains("[]"), "{object}");
    (object.clone(), serde_json::from_value(object.clone()).unwrap())
}

#[test]
fn actions_create_commands_about_what_was_looked_at() {
    let paused = stage::all()
        .into_iter()
        .find(|stage| stage.name == "waits for a person")
        .unwrap();
    let rollout = paused.rollout;
    for (action, verb, step) in [
        ("promote", Verb::Promote, Some(3)),
        ("promote-full", Verb::PromoteFull, Some(3)),
        // A step that ends meanwhile is no reason to let a bad version go on.
        ("abort", Verb::Abort, None),
        ("retry", Verb::Retry, Some(3)),
    ] {
        let (object, command) = created(action, &rollout);
        assert_eq!(
            (&object["apiVersion"], &object["kind"]),
            (&json!("tidegate.dev/v1alpha1"), &json!("RolloutCommand"))
        );
        let name = command.metadata.name.clone().unwrap();
        let time = name.strip_prefix(&format!("checkout-{action}-")).unwrap();
        assert!(
            time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()),
            "{name}"
        );
        assert_eq!(command.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(
            object["metadata"]["labels"],
            json!({"tidegate.dev/rollout": "checkout"})
        );
        let owner = &command.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.uid.as_str()),
            ("Rollout", "rollout-uid")
        );
        let expected = command.spec.expect.unwrap();
        assert_eq!(
            (command.spec.rollout.as_str(), command.spec.verb),
            ("checkout", verb)
        );
        assert_eq!(expected.revision.map(|revision| revision.0), Some(2));
        assert_eq!(expected.step.map(|step| step.0), step);
        assert_eq!(
            command.spec.requested_by.as_deref(),
            Some("system:serviceaccount:argocd:argocd-server")
        );
    }
}

#[test]
fn an_abort_does_not_wait_for_a_controller_that_lags_behind() {
    for stage in stage::all()
        .iter()
        .filter(|stage| stage.name.ends_with("not seen yet"))
    {
        assert_eq!(
            created("abort", &stage.rollout).1.spec.expect,
            None,
            "{}",
            stage.name
        );
    }
}

/// Who is named is who may: the service account to which `rbac.yaml` gives the right.
#[test]
fn who_creates_the_commands_has_the_right_to() {
    let documents: Vec<Value> = serde_saphyr::from_multiple(RBAC).unwrap();
    let subject = &documents[1]["subjects"][0];
    let user = format!(
        "system:serviceaccount:{}:{}",
        subject["namespace"].as_str().unwrap(),
        subject["name"].as_str().unwrap()
    );
    assert_eq!(documents[1]["roleRef"]["name"], documents[0]["metadata"]["name"]);
    assert_eq!(
        documents[0]["rules"],
        json!([{"apiGroups": ["tidegate.dev"], "resources": ["rolloutcommands"], "verbs": ["create"]}])
    );
    assert_eq!(
        CONFIG.matches(&format!("requestedBy = \"{user}\"")).count(),
        actions().definitions.len()
    );
}
