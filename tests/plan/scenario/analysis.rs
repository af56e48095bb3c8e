//! Releases that are judged.

use serde_json::{Value, json};
use tidegate::api::analysis_run::Verdict;
use tidegate::api::rollout_status::{AbortSource, Phase, Promotion, WaitingReason};
use tidegate::plan::model::Kind;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{hash, nginx, nginx_with};

fn judged_by(template: &str) -> Value {
    json!({"templates": [{"templateName": template}]})
}

/// At the analysis of `v2`, at weight 20.
fn at_the_analysis() -> Cluster {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, {"analysis": judged_by("errors")}, {"setWeight": 50}]),
    ));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        cluster.status().waiting_on.unwrap().reason,
        WaitingReason::Analysis
    );
    cluster
}

fn runs(cluster: &Cluster) -> Vec<&Value> {
    cluster
        .objects
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::AnalysisRun)
        .map(|(_, run)| run)
        .collect()
}

#[test]
fn success_goes_on() {
    let mut cluster = at_the_analysis();
    cluster.judge("Successful");
    cluster.run();
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("analysis_successful", cluster.what_happened());
}

#[test]
fn what_no_verdict_means_is_for_the_user_to_say() {
    for (on_inconclusive, verdict, phase) in [
        ("pause", "Inconclusive", Phase::Paused),
        ("abort", "Inconclusive", Phase::Degraded),
        ("abort", "NoData", Phase::Degraded),
        ("continue", "Inconclusive", Phase::Healthy),
        ("continue", "Failed", Phase::Degraded),
    ] {
        let mut analysis = judged_by("errors");
        analysis["onInconclusive"] = json!(on_inconclusive);
        let mut cluster = deployed(nginx(json!([{"setWeight": 20}, {"analysis": analysis}])));
        cluster.deploy("v2");
        cluster.run();
        cluster.judge(verdict);
        cluster.run();
        assert_eq!(
            cluster.phase(),
            phase,
            "{on_inconclusive} {verdict}\n{}",
            cluster.explain()
        );
    }
}

#[test]
fn a_step_waits_for_no_analysis_without_an_end() {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, {"analysis": judged_by("endless")}]),
    ));
    cluster.deploy("v2");
    cluster.run();
    let condition = cluster.condition("Valid");
    assert_eq!(condition, ("False".to_owned(), "InvalidMetric".to_owned()));
    assert_eq!(cluster.weight(), 0);
}

#[test]
fn a_verdict_that_was_given_under_other_steps_counts_no_more() {
    let mut cluster = deployed(nginx(json!([
        {"setWeight": 5}, {"analysis": judged_by("errors")}, {"setWeight": 20}, {"pause": {}},
    ])));
    cluster.deploy("v2");
    cluster.run();
    cluster.judge("Successful");
    cluster.run();
    assert_eq!((cluster.step(), cluster.weight()), (3, 20));
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["strategy"]["canary"]["steps"][0] = json!({"setWeight": 50});
    });
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (1, 50),
        "{}",
        cluster.explain()
    );
    assert_eq!(runs(&cluster).len(), 2);
    cluster.judge("Successful");
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (3, 20),
        "{}",
        cluster.explain()
    );
}

#[test]
fn an_analysis_that_cannot_be_made_says_why_before_there_is_traffic_to_judge() {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, {"analysis": judged_by("nowhere")}]),
    ));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        cluster.condition("Valid"),
        ("False".to_owned(), "TemplateNotFound".to_owned())
    );
    assert_eq!((cluster.step(), cluster.weight(), cluster.pods("v2")), (0, 0, 0));
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["strategy"]["canary"]["steps"][1]["analysis"] = judged_by("errors");
    });
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (1, 20),
        "{}",
        cluster.explain()
    );
}

#[test]
fn who_insists_on_a_version_that_cannot_be_judged_is_obeyed_and_anybody_else_is_told_why_not() {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, {"analysis": judged_by("nowhere")}]),
    ));
    cluster.deploy("v2");
    let others = ["Promote", "PromoteFull"].map(|verb| cluster.command(verb));
    cluster.run();
    for command in &others {
        assert_eq!(cluster.answer(command), "Refused", "{}", cluster.explain());
    }
    let forced = cluster.command_with("PromoteFull", json!({"force": true}));
    cluster.run();
    assert_eq!(cluster.answer(&forced), "Accepted");
    assert_released(&cluster, "v2");
}

#[test]
fn a_template_that_goes_is_not_missed_by_a_run() {
    let mut cluster = at_the_analysis();
    cluster.templates.clear();
    cluster.run();
    assert_eq!(cluster.condition("Valid").0, "True");
    cluster.judge("Successful");
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn failure_and_error_turn_back() {
    for verdict in ["Failed", "Error"] {
        let mut cluster = at_the_analysis();
        cluster.judge(verdict);
        cluster.run();
        assert_turned_back(&cluster, "v1");
        assert_eq!(cluster.status().abort_reason.unwrap().by, AbortSource::Analysis);
        assert_eq!(format!("{:?}", cluster.status().verdict.unwrap()), verdict);
    }
}

#[test]
fn who_has_not_seen_the_failure_yet_promotes_nothing_by_it() {
    let mut cluster = at_the_analysis();
    cluster.judge("Failed");
    let promote = cluster.command("Promote");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert_eq!(cluster.answer(&promote), "Refused");
}

#[test]
fn a_verdict_is_of_the_version_that_was_judged() {
    let mut cluster = at_the_analysis();
    cluster.judge("Inconclusive");
    cluster.run();
    cluster.command("Abort");
    cluster.run();
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
    cluster.deploy("v3");
    cluster.run_until(|cluster| cluster.status().current_pod_hash == Some(hash("v3")));
    assert_eq!(cluster.status().verdict, None);
}

#[test]
fn no_verdict_waits_for_a_person() {
    for verdict in ["Inconclusive", "NoData", "Terminated"] {
        let mut cluster = at_the_analysis();
        cluster.judge(verdict);
        cluster.run();
        assert_eq!(
            (cluster.phase(), cluster.step(), cluster.weight()),
            (Phase::Paused, 1, 20),
            "{verdict}"
        );
        let mut promoted = cluster.clone();
        promoted.command("Promote");
        promoted.run();
        assert_released(&promoted, "v2");
        cluster.command("Abort");
        cluster.run();
        assert_turned_back(&cluster, "v1");
    }
}

#[test]
fn a_retry_is_judged_anew() {
    let mut cluster = at_the_analysis();
    cluster.judge("Failed");
    cluster.run();
    cluster.command("Retry");
    cluster.run();
    assert_eq!(runs(&cluster).len(), 2, "{}", cluster.what_happened());
    assert_eq!((cluster.phase(), cluster.step()), (Phase::Progressing, 1));
    cluster.judge("Successful");
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn the_runs_of_a_release_that_ends_are_ended() {
    let mut cluster = at_the_analysis();
    cluster.command("Abort");
    cluster.run();
    assert_eq!(runs(&cluster)[0]["spec"]["terminate"], true);
}

#[test]
fn another_run_of_the_same_name_is_no_verdict() {
    let mut cluster = at_the_analysis();
    let name = runs(&cluster)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.edit(Kind::AnalysisRun, &name, |run| {
        run["spec"]["gate"]["podTemplateHash"] = json!("other");
        run["status"] = json!({"phase": "Successful"});
    });
    cluster.run();
    assert_eq!(
        (cluster.step(), runs(&cluster).len()),
        (1, 2),
        "{}",
        cluster.what_happened()
    );
}

/// A background analysis beside three steps, the last of which waits for a person.
fn in_the_background(template: &str) -> Cluster {
    let steps = json!([{"setWeight": 20}, {"setWeight": 50}, {"pause": {}}]);
    let mut background = judged_by(template);
    background["startingStep"] = json!(1);
    let mut cluster = deployed(nginx_with(steps, json!({"analysis": background})));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.step(), runs(&cluster).len()),
        (2, 1),
        "{}",
        cluster.what_happened()
    );
    cluster
}

#[test]
fn a_background_analysis_blocks_the_promotion_until_it_has_said_something_good() {
    let mut cluster = in_the_background("endless");
    cluster.command("Promote");
    cluster.run();
    assert_eq!((cluster.step(), cluster.status().promotion), (3, None));
    assert_eq!(
        cluster.status().waiting_on.unwrap().reason,
        WaitingReason::Analysis
    );
    cluster.judge("Running");
    cluster.run();
    assert_released(&cluster, "v2");
    assert_eq!(runs(&cluster)[0]["spec"]["terminate"], true);
}

#[test]
fn a_person_may_promote_over_a_background_analysis_that_says_nothing() {
    let mut cluster = in_the_background("endless");
    cluster.command("Promote");
    cluster.run();
    assert_eq!(cluster.status().promotion, None);
    cluster.command("Promote");
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn a_failed_background_analysis_turns_back_from_any_step() {
    let mut cluster = in_the_background("errors");
    cluster.judge("Failed");
    cluster.run();
    assert_turned_back(&cluster, "v1");
}

#[test]
fn an_inconclusive_background_analysis_stops_until_somebody_accepts_it() {
    let mut cluster = in_the_background("errors");
    cluster.judge("Inconclusive");
    cluster.run();
    assert_eq!(cluster.phase(), Phase::Paused);
    cluster.command("Promote");
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.phase()),
        (2, Phase::Paused),
        "the pause is still to be ended"
    );
    cluster.command("Promote");
    cluster.run();
    assert_released(&cluster, "v2");
}

fn baking() -> Cluster {
    let bake = json!({"duration": "60s", "analysis": judged_by("errors")});
    let mut cluster = deployed(nginx_with(json!([{"setWeight": 50}]), json!({"bake": bake})));
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.status().promotion == Some(Promotion::Bake));
    assert_eq!(
        (cluster.weight(), cluster.selected("checkout-stable").as_str()),
        (0, "v2")
    );
    cluster.log.clear();
    cluster.wait(5);
    cluster
}

#[test]
fn what_an_analysis_had_aborted_is_promoted_in_full_only_by_force() {
    let mut cluster = at_the_analysis();
    cluster.judge("Failed");
    cluster.run();
    cluster.command("Retry");
    cluster.run();
    let refused = cluster.command("PromoteFull");
    cluster.run_until(|cluster| cluster.answer(&refused) != "none");
    assert_eq!(cluster.answer(&refused), "Refused", "{}", cluster.explain());
    let forced = cluster.command_with("PromoteFull", json!({"force": true, "reason": "the metric lies"}));
    cluster.run();
    assert_eq!(cluster.answer(&forced), "Accepted");
    assert_released(&cluster, "v2");
}

#[test]
fn a_bake_keeps_the_old_pods_until_it_is_over() {
    let mut cluster = baking();
    cluster.judge("Successful");
    cluster.wait(50);
    assert_eq!(
        (cluster.pods("v1"), cluster.status().stable_rs),
        (5, Some(crate::fixture::hash("v1")))
    );
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn a_bake_that_fails_goes_straight_back() {
    let mut cluster = baking();
    cluster.judge("Failed");
    cluster.wait(1);
    assert!(cluster.status().spares_current(), "shown at once");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    insta::assert_snapshot!("bake_failed", cluster.what_happened());
}
