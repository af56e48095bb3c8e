//! What went wrong when Argo Rollouts 1.10.2 was measured, as far as a plan can show it: each must not happen here.

use chrono::Duration;
use serde_json::json;
use tidegate::api::analysis_run::AnalysisRun;
use tidegate::api::measure::{Measured, Outcome, Samples};
use tidegate::api::rollout_status::{AbortSource, Phase};
use tidegate::plan::analysis::{record, schedule};
use tidegate::plan::model::Kind;
use tidegate::plan::plan;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{five_steps, nginx, nginx_with};

fn paused() -> Cluster {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.log.clear();
    cluster
}

/// Seconds at which lines with `what` were written.
fn times(cluster: &Cluster, what: &str) -> Vec<i64> {
    let lines = cluster.log.iter().filter(|line| line.contains(what));
    lines
        .map(|line| line.trim_start().split('s').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn one_abort_costs_thousands_of_requests() {
    let mut cluster = paused();
    cluster.command("Abort");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert!(cluster.log.len() <= 10, "{}", cluster.what_happened());
    assert_eq!(
        times(&cluster, "Service checkout-canary").len() + times(&cluster, "checkout-canary selects").len(),
        1
    );
}

#[test]
fn a_failed_read_strips_the_selectors() {
    let cluster = paused();
    for unread in ["services", "routes"] {
        let mut snapshot = cluster.snapshot();
        match unread {
            "services" => snapshot.services.clear(),
            _ => snapshot.routes.ingresses.clear(),
        }
        let planned = plan(&snapshot, cluster.now);
        let writes = planned.stages.iter().flat_map(|stage| &stage.writes);
        let touched = writes.filter(|write| matches!(write.target.kind, Kind::Service | Kind::Ingress));
        assert_eq!(touched.count(), 0, "{unread}: {planned:#?}");
        let reasons: Vec<&str> = planned
            .stages
            .iter()
            .flat_map(|stage| &stage.writes)
            .map(|write| write.reason.as_str())
            .collect();
        // What cannot be seen may be anything: versions may grow to be safe.
        assert!(
            reasons.iter().all(|reason| reason.contains("3 to 5")),
            "{unread}: {reasons:?}"
        );
    }
}

#[test]
fn weights_are_never_confirmed() {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 10}, {"setWeight": 50}, {"pause": {}}]),
    ));
    cluster.deploy("v2");
    cluster.run();
    let [first, second] = [times(&cluster, "weight 10"), times(&cluster, "weight 50")].map(|times| times[0]);
    assert!(
        second - first >= 5,
        "settleSeconds lie between\n{}",
        cluster.what_happened()
    );
}

#[test]
fn the_weight_stays_at_the_canary_before_the_stable_service_moves() {
    let mut cluster = paused();
    cluster.command("Promote");
    cluster.run();
    let full = times(&cluster, "weight 100")[0];
    let moved = times(&cluster, "checkout-stable selects v2")[0];
    assert_eq!(
        moved - full,
        5,
        "settleSeconds and no more\n{}",
        cluster.what_happened()
    );
}

#[test]
fn v3_over_v2_loses_requests() {
    let mut cluster = paused();
    cluster.deploy("v3");
    cluster.run();
    let gone = times(&cluster, "3 -> 0")[0];
    let weight = times(&cluster, "weight 0")[0];
    assert!(gone - weight >= 5, "{}", cluster.what_happened());
}

#[test]
fn scaling_in_mid_step_loses_requests() {
    let mut cluster = paused();
    for replicas in [8, 2] {
        cluster.scale(replicas);
        cluster.run();
        assert_eq!(cluster.phase(), Phase::Paused);
    }
    assert_eq!(
        (cluster.pods("v1"), cluster.pods("v2")),
        (2, 1),
        "{}",
        cluster.what_happened()
    );
}

#[test]
fn dynamic_stable_scale_loses_requests_on_promotion_and_abort() {
    for verb in ["Promote", "Abort"] {
        let mut cluster = deployed(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
        cluster.deploy("v2");
        cluster.run();
        cluster.log.clear();
        cluster.command(verb);
        cluster.run();
        let (going, spared_by) = match verb {
            "Promote" => ("v1", "checkout-stable selects v2"),
            _ => ("v2", "weight 0"),
        };
        let gone = *times(&cluster, "-> 0").last().unwrap();
        assert_eq!(cluster.pods(going), 0);
        let before = times(&cluster, spared_by)[0];
        assert!(gone - before >= 5, "{verb}\n{}", cluster.what_happened());
    }
}

#[test]
fn all_canary_pods_crash() {
    let mut cluster = paused();
    let at = cluster.now;
    cluster
        .most_ready
        .insert(crate::fixture::hash("v2").to_string(), 0);
    cluster.run_until(|cluster| cluster.weight() == 0);
    assert!(
        cluster.now - at <= Duration::seconds(1),
        "{}",
        cluster.what_happened()
    );
}

/// Takes the measurements that are due, each with this outcome, and looks again after each of them.
fn measure(cluster: &mut Cluster, outcome: &Outcome) {
    let runs: Vec<AnalysisRun> = cluster
        .objects
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::AnalysisRun)
        .map(|(_, run)| serde_json::from_value(run.clone()).unwrap())
        .collect();
    for run in runs {
        let measured: Vec<Measured> = schedule(&run, cluster.now)
            .tasks
            .into_iter()
            .map(|task| Measured {
                metric: task.metric,
                started_at: cluster.now,
                outcome: outcome.clone(),
            })
            .collect();
        let status = record(&run, &measured, cluster.now);
        let name = run.metadata.name.unwrap();
        cluster.edit(Kind::AnalysisRun, &name, |run| run["status"] = json!(status));
    }
    cluster.wait(10);
}

/// At the analysis of `v2`, at weight 20, with a run that has begun.
fn judged() -> Cluster {
    let analysis = json!({"analysis": {"templates": [{"templateName": "errors"}]}});
    let mut cluster = deployed(nginx(json!([{"setWeight": 20}, analysis, {"setWeight": 50}])));
    cluster.deploy("v2");
    cluster.run();
    measure(&mut cluster, &Outcome::Error("begins".to_owned()));
    cluster
}

#[test]
fn an_outage_of_prometheus_aborts_at_once_or_promotes() {
    let outage = Outcome::Error("connection refused".to_owned());
    let sound = Outcome::Samples(Samples::Vector(vec![0.0]));
    let mut cluster = judged();
    // consecutiveErrorLimit is 4 unless given, and a good measurement begins the count anew.
    hold_through(&mut cluster, &outage);
    measure(&mut cluster, &sound);
    let mut back = cluster.clone();
    for _ in 0..2 {
        measure(&mut back, &sound);
    }
    back.run();
    assert_released(&back, "v2");
    hold_through(&mut cluster, &outage);
    measure(&mut cluster, &outage);
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert_eq!(cluster.status().abort_reason.unwrap().by, AbortSource::Analysis);
}

fn hold_through(cluster: &mut Cluster, outage: &Outcome) {
    for error in 1..=4 {
        measure(cluster, outage);
        assert_eq!(
            (cluster.step(), cluster.weight(), cluster.status().abort),
            (1, 20, false),
            "error {error}\n{}",
            cluster.what_happened()
        );
    }
}
