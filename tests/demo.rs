//! `tidegate demo --once --json` as a process: what a script may rely on.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The shortest scenario, with few customers.
fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["demo", "--once", "--json", "--scenario", "abort-command"])
        .args(["--requests-per-second", "50", "--propagation-delay", "0s"]);
    command
}

#[test]
fn the_demo_prints_one_object_per_scenario_and_nothing_else() {
    let output = demo().output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let result: Value = serde_json::from_str(&printed).unwrap();

    let fields = [
        "scenario",
        "outcome",
        "revision",
        "weights",
        "maxCanaryWeight",
        "requests",
        "canaryRequests",
        "errors",
        "lost",
        "abort",
        "secondsToOutcome",
        "writes",
    ];
    let place = |field: &&str| printed.find(&format!("\"{field}\":")).unwrap();
    assert!(fields.iter().map(place).is_sorted(), "{printed}");
    assert_eq!(result.as_object().unwrap().len(), fields.len(), "{printed}");

    assert_eq!(result["scenario"], "abort-command");
    assert_eq!(result["outcome"], "Aborted");
    assert_eq!(result["revision"], 2);
    assert_eq!(result["weights"], serde_json::json!([10, 0]));
    assert_eq!(result["maxCanaryWeight"], 10);
    assert_eq!(result["lost"], 0);
    assert_eq!(result["errors"], 0);
    assert!(result["requests"].as_u64().unwrap() >= result["canaryRequests"].as_u64().unwrap());
    assert!(result["secondsToOutcome"].is_f64());
    let abort = &result["abort"];
    assert_eq!(abort.as_object().unwrap().len(), 4, "{printed}");
    assert_eq!(abort["by"], "command");
    assert!(abort["rule"].is_string());
    assert!(
        abort["measured"].is_null() && abort["threshold"].is_null(),
        "{printed}"
    );
    assert!(result["writes"]["Rollout"].as_u64().unwrap() > 0);
    assert!(result["writes"]["Ingress"].as_u64().unwrap() > 0);
}

#[test]
fn a_demo_that_is_ended_early_fails_and_leaves_nothing_behind() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ended-early");
    fs::create_dir_all(&directory).unwrap();
    let mut demo = demo()
        .env("TMPDIR", &directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(demo.stderr.take().unwrap()).lines();
    let is_up = |line: &str| line.contains("KUBECONFIG");
    assert!(notes.any(|line| is_up(&line.unwrap())));
    // Prometheus's data and the kubeconfig.
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    let told = Command::new("kill").arg(demo.id().to_string()).status();
    assert!(told.unwrap().success());
    let rest: Vec<String> = notes.map(Result::unwrap).collect();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{rest:?}");
    let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
