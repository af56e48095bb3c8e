//! The history of a Rollout tells all that was decided: nothing is merged, nothing lost on the way.

use serde_json::json;
use tidegate::api::rollout_status::{HistoryEntry, Phase};

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{five_steps, nginx};

/// The promotion is one decision, told at its end, though it takes several rounds.
const PARTS_OF_A_PROMOTION: [&str; 2] = ["PromotionStarted", "BakeStarted"];
const NO_DECISIONS: [&str; 3] = ["Waiting", "Acting", "Invalid"];

/// Until nothing more happens; the rounds that decided something must each have told it.
fn follow(cluster: &mut Cluster) -> Vec<HistoryEntry> {
    let begun = cluster.status().history.len();
    for _ in 0..1_000 {
        let told = cluster.status().history;
        let (planned, changed) = cluster.round();
        let rule = planned.rule.as_str();
        let decided = !NO_DECISIONS.contains(&rule) && !PARTS_OF_A_PROMOTION.contains(&rule);
        let history = cluster.status().history;
        assert_eq!(history[..told.len()], told, "{rule}: what was told stays");
        assert_eq!(history.len() - told.len(), usize::from(decided), "{rule}");
        if changed {
            continue;
        }
        match planned.requeue_at {
            Some(due) => cluster.now = due,
            None => return history[begun..].to_vec(),
        }
    }
    panic!("it never comes to rest\n{}", cluster.what_happened());
}

fn told(history: &[HistoryEntry]) -> Vec<(&str, &str)> {
    let entries = history.iter();
    entries
        .map(|entry| (entry.what.as_str(), entry.why.as_str()))
        .collect()
}

#[test]
fn every_decision_of_a_promotion_is_told() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    let mut history = follow(&mut cluster);
    assert_eq!(cluster.phase(), Phase::Paused);
    cluster.command("Promote");
    history.extend(follow(&mut cluster));
    assert_released(&cluster, "v2");
    insta::assert_debug_snapshot!(told(&history));
}

#[test]
fn every_decision_of_an_abort_is_told() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    follow(&mut cluster);
    cluster.command("Abort");
    let history = follow(&mut cluster);
    assert_turned_back(&cluster, "v1");
    assert_eq!(told(&history), [("Aborted", "because")]);
    assert_eq!(history[0].who, "alice");
}

/// 32 KiB: a status is written often, and every watcher reads it.
#[test]
fn a_status_stays_small_whatever_people_write() {
    let mut cluster = deployed(nginx(json!([{"setWeight": 20}, {"pause": {}}])));
    cluster.deploy("v2");
    cluster.run();
    for verb in ["Abort", "Retry"].repeat(12) {
        let extra = json!({"reason": "🦀".repeat(1_024), "requestedBy": "🦀".repeat(253)});
        cluster.command_with(verb, extra);
        cluster.run();
        assert_small(&cluster);
    }
    cluster.edit_rollout(|rollout| {
        let step = json!({"setWeight": 5, "pause": {}, "unknown".repeat(30): 1});
        rollout["spec"]["strategy"]["canary"]["steps"] = json!(vec![step; 50]);
    });
    cluster.run();
    assert_eq!(cluster.status().history.len(), 20);
    assert_small(&cluster);
}

fn assert_small(cluster: &Cluster) {
    let status = cluster.rollout().unwrap()["status"].to_string();
    assert!(status.len() < 32 * 1024, "{} bytes", status.len());
}

#[test]
fn decisions_that_differ_in_their_text_only_are_all_told() {
    let mut cluster = deployed(nginx(json!([{"setWeight": 20}, {"pause": {}}])));
    cluster.deploy("v2");
    follow(&mut cluster);
    let mut history = Vec::new();
    for reason in ["errors", "latency", "latency"] {
        for verb in ["Abort", "Retry"] {
            cluster.command_with(verb, json!({"reason": reason}));
            history.extend(follow(&mut cluster));
        }
    }
    let aborts = history.iter().filter(|entry| entry.what == "Aborted");
    let reasons: Vec<&str> = aborts.map(|entry| entry.why.as_str()).collect();
    assert_eq!(reasons, ["errors", "latency", "latency"]);
}
