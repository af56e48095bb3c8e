//! A Rollout at every place where it can stand, as the planner has left it, and what tools must make of it.

use serde_json::{Value, json};
use tidegate::api::names::StepIndex;
use tidegate::plan::model::Kind;

use crate::cluster::Cluster;
use crate::fixture::{five_steps, hash, nginx, nginx_with};

/// What to expect of one Rollout.
pub struct Stage {
    pub name: &'static str,
    /// As the API server would return it.
    pub rollout: Value,
    /// In Argo CD's words.
    pub health: &'static str,
    /// In kstatus's.
    pub status: &'static str,
    /// The actions that are not greyed out.
    pub actions: &'static [&'static str],
    /// What the message must say.
    pub message: &'static str,
}

const PROMOTABLE: &[&str] = &["abort", "promote", "promote-full"];

fn stage(
    name: &'static str,
    cluster: &Cluster,
    (health, status): (&'static str, &'static str),
    actions: &'static [&'static str],
    message: &'static str,
) -> Stage {
    Stage {
        name,
        rollout: cluster.rollout().unwrap().clone(),
        health,
        status,
        actions,
        message,
    }
}

const GOING: (&str, &str) = ("Progressing", "InProgress");
const WAITING: (&str, &str) = ("Suspended", "InProgress");
const GOOD: (&str, &str) = ("Healthy", "Current");
const BAD: (&str, &str) = ("Degraded", "Failed");

pub fn all() -> Vec<Stage> {
    let mut stages = first_deploy();
    stages.extend(release());
    stages.extend(trouble());
    stages
}

fn first_deploy() -> Vec<Stage> {
    let mut cluster = nginx(five_steps());
    // Without a status there is nothing by which kstatus could tell; `docs/gitops.md` says what to do about it.
    let new = stage(
        "not seen yet",
        &cluster,
        ("Progressing", "Current"),
        &["abort"],
        "newest spec",
    );
    cluster.most_ready.insert(hash("v1").to_string(), 1);
    cluster.wait(5);
    let starting = stage("first deploy", &cluster, GOING, &[], "waiting for");
    cluster.most_ready.clear();
    cluster.run();
    let done = stage("deployed", &cluster, GOOD, &[], "stable carries all traffic");
    cluster.scale(7);
    let scaled = stage("scaled, not seen yet", &cluster, GOING, &["abort"], "newest spec");
    cluster.run();
    let bigger = stage("scaled", &cluster, GOOD, &[], "stable carries all traffic");
    vec![new, starting, done, scaled, bigger]
}

/// From the edit of the template to the end, with an abort and another try on the way.
fn release() -> Vec<Stage> {
    let mut cluster = nginx(five_steps());
    cluster.run();
    cluster.deploy("v2");
    let edited = stage("edited, not seen yet", &cluster, GOING, &["abort"], "newest spec");
    cluster.run_until(|cluster| cluster.step() == 0 && cluster.weight() > 0);
    let moving = stage("first weight", &cluster, GOING, PROMOTABLE, "");
    cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(true));
    cluster.run();
    let held = stage("held by spec.paused", &cluster, WAITING, &["abort"], "paused");
    cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(false));
    cluster.run();
    let paused = stage("waits for a person", &cluster, WAITING, PROMOTABLE, "promote");
    assert_eq!(cluster.status().current_step_index, Some(StepIndex(3)));
    cluster.command("Abort");
    cluster.run();
    let aborted = stage("aborted", &cluster, BAD, &["retry"], "aborted: because");
    cluster.command("Retry");
    cluster.run_until(|cluster| cluster.weight() > 0);
    let again = stage("tried again", &cluster, GOING, PROMOTABLE, "");
    cluster.command("PromoteFull");
    cluster.run_until(|cluster| cluster.status().promotion.is_some());
    let promoting = stage("being promoted", &cluster, GOING, &["abort"], "");
    cluster.run();
    let promoted = stage("promoted", &cluster, GOOD, &[], "stable carries all traffic");
    vec![edited, moving, held, paused, aborted, again, promoting, promoted]
}

fn trouble() -> Vec<Stage> {
    let mut cluster = nginx(five_steps());
    cluster.remove(Kind::Service, "checkout-stable");
    cluster.wait(5);
    let invalid = stage(
        "names a Service that is not there",
        &cluster,
        BAD,
        &[],
        "checkout-stable",
    );

    let mut cluster = nginx(five_steps());
    cluster.run();
    cluster
        .edit_rollout(|rollout| rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 101}]));
    cluster.wait(5);
    let unusable = stage("cannot be used", &cluster, BAD, &[], "setWeight");

    let mut cluster = nginx(five_steps());
    cluster.run();
    cluster.edit_rollout(|rollout| rollout["spec"]["progressDeadlineSeconds"] = json!(60));
    cluster.most_ready.insert(hash("v2").to_string(), 0);
    cluster.deploy("v2");
    cluster.wait(120);
    let stuck = stage("stuck", &cluster, BAD, PROMOTABLE, "progressDeadlineSeconds");

    let steps = json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "errors"}]}}]);
    let mut cluster = nginx_with(steps, json!({}));
    cluster.run();
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.objects.keys().any(|(kind, _)| *kind == Kind::AnalysisRun));
    let judging = stage("analysis runs", &cluster, GOING, PROMOTABLE, "");
    cluster.judge("Inconclusive");
    cluster.run();
    let undecided = stage(
        "analysis without a verdict",
        &cluster,
        WAITING,
        PROMOTABLE,
        "promote",
    );
    vec![invalid, unusable, stuck, judging, undecided]
}
