//! Statuses that nobody should ever write: each says that a release has come further than it has.

use serde_json::{Value, json};
use tidegate::api::analysis_run::{AnalysisRun, Gate, Verdict};
use tidegate::api::names::{PodTemplateHash, StepIndex};
use tidegate::api::rollout_status::Promotion;
use tidegate::plan::check::check;
use tidegate::plan::model::{Kind, Plan};
use tidegate::plan::snapshot::Snapshot;

use crate::cluster::Cluster;
use crate::fixture::{basic_with, five_steps, hash, nginx, nginx_with};
use crate::refused::{idle, paused};

fn status_rules(cluster: &Cluster, change: impl FnOnce(&mut Plan)) -> Vec<&'static str> {
    let mut plan = idle(cluster);
    change(&mut plan);
    broken_rules(&cluster.snapshot(), &plan)
}

fn broken_rules(snapshot: &Snapshot, plan: &Plan) -> Vec<&'static str> {
    let breaches = check(snapshot, plan).into_iter();
    breaches.map(|breach| breach.rule).collect()
}

#[test]
fn a_status_may_not_run_ahead() {
    let cluster = paused(nginx(five_steps()));
    let v2 = || PodTemplateHash(hash("v2").to_string());
    assert_eq!(
        status_rules(&cluster, |plan| plan.status.current_step_index =
            Some(StepIndex(5))),
        ["S10"]
    );
    assert_eq!(
        status_rules(&cluster, |plan| plan.status.stable_rs = Some(v2())),
        ["S8"]
    );
    assert_eq!(
        status_rules(&cluster, |plan| plan.status.stable_rs = None).first(),
        Some(&"S8")
    );
    let analysis = json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "errors"}]}}]);
    let mut judged = nginx_with(analysis, json!({}));
    judged.run();
    judged.deploy("v2");
    judged.run();
    assert_eq!(
        status_rules(&judged, |plan| plan.status.current_step_index =
            Some(StepIndex(2))),
        ["S8"]
    );
    let mut aborted = paused(nginx(five_steps()));
    aborted.command("Abort");
    aborted.run();
    assert_eq!(status_rules(&aborted, |plan| plan.status.abort = false), ["S9"]);
}

/// By the routes and Services, whatever stage of the promotion was on record.
#[test]
fn a_version_without_all_of_the_traffic_does_not_become_stable() {
    let begun = |edit: &dyn Fn(&mut Cluster)| {
        let mut cluster = nginx_with(json!([{"setWeight": 20}]), json!({}));
        cluster.run();
        cluster.deploy("v2");
        cluster.run_until(|cluster| cluster.selected("checkout-stable") == "v2");
        assert!(cluster.status().promotion.is_some());
        edit(&mut cluster);
        let mut status = cluster.status();
        status.stable_rs = Some(PodTemplateHash(hash("v2").to_string()));
        status.promotion = None;
        status.canary.weights.as_mut().unwrap().verified = true;
        let plan = Plan {
            status,
            ..Plan::default()
        };
        broken_rules(&cluster.snapshot(), &plan)
    };
    let turn_back = |cluster: &mut Cluster| cluster.select("checkout-stable", "v1");
    let lower = |cluster: &mut Cluster| crate::scenario::trouble::set_weight(cluster, "0");
    assert_eq!(begun(&|_| ()), [""; 0], "both Services select it");
    assert_eq!(begun(&turn_back), ["S8"]);
    let lowered = |cluster: &mut Cluster| {
        turn_back(cluster);
        lower(cluster);
    };
    assert_eq!(begun(&lowered), ["S8"]);
    let keep_canary = |cluster: &mut Cluster| cluster.select("checkout-canary", "v1");
    assert_eq!(begun(&keep_canary), ["S8"]);
}

fn judged(steps: Value, extra: Value) -> Cluster {
    let mut cluster = nginx_with(steps, extra);
    cluster.run();
    cluster.deploy("v2");
    cluster.run();
    cluster
}

/// A success counts for the Rollout, version, revision, analysis and gate that it was made for.
#[test]
fn a_success_for_something_else_passes_no_gate() {
    let analysis = json!({"templates": [{"templateName": "errors"}]});
    let cluster = judged(json!([{"setWeight": 20}, {"analysis": analysis}]), json!({}));
    let (name, run) = cluster.snapshot().runs.into_iter().next().unwrap();
    let goes_on = |change: &dyn Fn(&mut AnalysisRun)| {
        let mut plan = idle(&cluster);
        plan.status.current_step_index = Some(StepIndex(2));
        let mut snapshot = cluster.snapshot();
        let mut run = run.clone();
        run.status.get_or_insert_default().phase = Verdict::Successful;
        change(&mut run);
        snapshot.runs = [(run.metadata.name.clone().unwrap(), run)].into();
        check(&snapshot, &plan).is_empty()
    };
    assert!(goes_on(&|_| ()));
    let mut accepted = idle(&cluster);
    accepted.status.current_step_index = Some(StepIndex(2));
    accepted.status.canary.accepted_runs = vec![name.clone()];
    let mut failed = cluster.snapshot();
    let status = failed.runs.get_mut(&name).unwrap().status.get_or_insert_default();
    status.phase = Verdict::Failed;
    assert!(
        !check(&failed, &accepted).is_empty(),
        "a failure cannot be accepted"
    );
    fn gate(run: &mut AnalysisRun) -> &mut Gate {
        run.spec.gate.as_mut().unwrap()
    }
    let changes: [&dyn Fn(&mut AnalysisRun); 7] = [
        &|run| run.status.as_mut().unwrap().phase = Verdict::Running,
        &|run| gate(run).pod_template_hash = hash("v1").to_string(),
        &|run| gate(run).rollout_uid = "other".to_owned(),
        &|run| gate(run).step_hash = "other".to_owned(),
        &|run| gate(run).name = "step-0".to_owned(),
        &|run| run.metadata.owner_references = None,
        &|run| run.metadata.name = Some(name.replace("-2-step", "-1-step")),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(!goes_on(change), "change {number}");
    }
}

#[test]
fn a_promotion_asks_its_own_analyses() {
    let analysis = json!({"templates": [{"templateName": "errors"}]});
    let background = judged(
        json!([{"setWeight": 20}, {"pause": {}}]),
        json!({"analysis": analysis}),
    );
    let begun = |plan: &mut Plan| {
        plan.status.current_step_index = Some(StepIndex(2));
        plan.status.promotion = Some(Promotion::FullWeight);
    };
    assert_eq!(status_rules(&background, begun), ["S8"]);
    // One that is only tried out decides nothing, and one that was accepted need not be there.
    let mut tried_out = background.clone();
    tried_out.judge("Running");
    let (_, run) = tried_out
        .objects
        .iter_mut()
        .find(|((kind, _), _)| *kind == Kind::AnalysisRun)
        .unwrap();
    let metrics = run["status"]["metricResults"].as_array_mut().unwrap();
    metrics.push(json!({"name": "tried", "phase": "Running", "failed": 1, "successful": 0, "dryRun": true}));
    assert_eq!(status_rules(&tried_out, begun), [""; 0]);
    let accepted = |plan: &mut Plan| {
        begun(plan);
        let name = format!("checkout-{}-2-background", hash("v2"));
        plan.status.canary.accepted_runs = vec![name];
    };
    assert_eq!(status_rules(&background, accepted), [""; 0]);
    let bake = json!({"bake": {"duration": "1h", "analysis": analysis}});
    let mut baking = judged(json!([{"setWeight": 20}]), bake);
    baking.run_until(|cluster| cluster.status().promotion == Some(Promotion::Bake));
    baking.run();
    let mut done = idle(&baking);
    done.status.stable_rs = Some(PodTemplateHash(hash("v2").to_string()));
    done.status.promotion = None;
    assert_eq!(broken_rules(&baking.snapshot(), &done), ["S8"]);
    baking.judge("Successful");
    assert_eq!(broken_rules(&baking.snapshot(), &done), [""; 0]);
    done.status.canary.weights.as_mut().unwrap().verified = false;
    assert_eq!(broken_rules(&baking.snapshot(), &done), ["S8"]);
}

#[test]
fn a_version_without_its_pods_does_not_become_stable_where_the_pods_are_the_traffic() {
    let mut cluster = basic_with(five_steps(), json!({}));
    cluster.run();
    cluster.deploy("v2");
    cluster.run();
    let mut plan = Plan {
        status: cluster.status(),
        ..Plan::default()
    };
    plan.status.stable_rs = Some(PodTemplateHash(hash("v2").to_string()));
    let mut snapshot = cluster.snapshot();
    snapshot.rollout["status"]["promotion"] = json!("FullWeight");
    assert_eq!(broken_rules(&snapshot, &plan), ["S8"]);
    for set in snapshot.replica_sets.values_mut() {
        (set.replicas, set.available) = (5, 5);
    }
    assert_eq!(broken_rules(&snapshot, &plan), [""; 0]);
}
