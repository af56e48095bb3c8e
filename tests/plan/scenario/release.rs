//! Releases that go well.

use serde_json::{Value, json};
use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::Kind;

use super::{assert_released, deployed};
use crate::cluster::Cluster;
use crate::fixture::{basic_with, five_steps, gateway_with, hash, nginx, nginx_with, readable};

/// With the promote that the open pause asks for.
fn release(cluster: &mut Cluster, version: &str) {
    cluster.deploy(version);
    cluster.run();
    if cluster.phase() == Phase::Paused {
        cluster.command("Promote");
        cluster.run();
    }
}

#[test]
fn the_first_version_goes_out_without_steps() {
    let mut cluster = nginx(five_steps());
    cluster.run();
    assert_released(&cluster, "v1");
    insta::assert_snapshot!("first_deploy", cluster.what_happened());
}

#[test]
fn five_steps_behind_an_ingress() {
    let mut cluster = deployed(nginx(five_steps()));
    release(&mut cluster, "v2");
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("nginx_five_steps", cluster.what_happened());
}

#[test]
fn five_steps_behind_an_http_route() {
    let mut cluster = deployed(gateway_with(five_steps(), json!({})));
    release(&mut cluster, "v2");
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("gateway_five_steps", cluster.what_happened());
}

#[test]
fn five_steps_by_the_number_of_pods() {
    let mut cluster = deployed(basic_with(five_steps(), json!({})));
    release(&mut cluster, "v2");
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("basic_five_steps", cluster.what_happened());
}

#[test]
fn one_step_to_full_weight_is_enough() {
    let steps = json!([{"setWeight": 100}]);
    for mut cluster in [nginx(steps.clone()), basic_with(steps, json!({}))].map(deployed) {
        release(&mut cluster, "v2");
        assert_released(&cluster, "v2");
    }
}

#[test]
fn stable_shrinks_as_the_canary_grows() {
    let mut cluster = deployed(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    release(&mut cluster, "v2");
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("dynamic_stable_scale", cluster.what_happened());
}

#[test]
fn an_explicit_surge_bounds_the_sum() {
    let extra = json!({"dynamicStableScale": true, "maxSurge": 1});
    let mut cluster = deployed(nginx_with(five_steps(), extra));
    cluster.deploy("v2");
    let mut most = 0;
    let mut watch = |cluster: &Cluster| {
        most = most.max(cluster.pods("v1") + cluster.pods("v2"));
        false
    };
    cluster.run_until(&mut watch);
    cluster.command("Promote");
    cluster.run_until(&mut watch);
    assert_released(&cluster, "v2");
    assert_eq!(most, 6, "{}", cluster.what_happened());
}

#[test]
fn a_canary_has_at_least_min_pods() {
    let extra = json!({"minPodsPerReplicaSet": 2});
    let mut cluster = deployed(nginx_with(json!([{"setWeight": 1}, {"pause": {}}]), extra));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.pods("v2"), cluster.weight()), (2, 1));
}

#[test]
fn the_canary_scale_is_apart_from_its_weight() {
    let steps = json!([
        {"setCanaryScale": {"replicas": 3}}, {"pause": {}},
        {"setWeight": 20}, {"pause": {}},
        {"setCanaryScale": {"matchTrafficWeight": true}}, {"pause": {}},
    ]);
    let mut cluster = deployed(nginx(steps));
    cluster.deploy("v2");
    for (pods, weight) in [(3, 0), (3, 20), (1, 20)] {
        cluster.run();
        assert_eq!(
            (cluster.pods("v2"), cluster.weight()),
            (pods, weight),
            "{}",
            cluster.what_happened()
        );
        cluster.command("Promote");
    }
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn the_canary_scale_may_be_that_of_another_weight() {
    let routing = json!({"nginx": {"stableIngress": "web"}, "maxTrafficWeight": 1000});
    let steps = json!([{"setCanaryScale": {"weight": 410}}, {"pause": {}}]);
    let mut cluster = deployed(nginx_with(steps, json!({"trafficRouting": routing})));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.pods("v2"), cluster.weight()),
        (3, 0),
        "{}",
        cluster.explain()
    );
}

#[test]
fn a_step_goes_on_with_as_much_of_the_canary_as_is_asked_for() {
    for (threshold, weight) in [
        (json!(null), 0),
        (json!({"type": "Pods", "value": 3}), 0),
        (json!({"type": "Pods", "value": 2}), 60),
        (json!({"type": "Percent", "value": 67}), 0),
        (json!({"type": "Percent", "value": 66}), 60),
    ] {
        let extra = match &threshold {
            Value::Null => json!({}),
            threshold => json!({"replicaProgressThreshold": threshold}),
        };
        let mut cluster = deployed(nginx_with(json!([{"setWeight": 60}, {"pause": {}}]), extra));
        cluster.most_ready.insert(hash("v2").to_string(), 2);
        cluster.deploy("v2");
        cluster.run();
        assert_eq!(
            (cluster.pods("v2"), cluster.weight()),
            (3, weight),
            "{threshold}\n{}",
            cluster.explain()
        );
    }
}

#[test]
fn runs_beyond_their_limits_go() {
    let analysis = json!({"analysis": {"templates": [{"templateName": "errors"}]}});
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, analysis, {"setWeight": 40}, analysis]),
    ));
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["analysis"] =
            json!({"successfulRunHistoryLimit": 2, "unsuccessfulRunHistoryLimit": 1});
    });
    for (version, verdict) in [
        ("v2", "Failed"),
        ("v3", "Successful"),
        ("v4", "Failed"),
        ("v5", "Successful"),
    ] {
        cluster.wait(10);
        cluster.deploy(version);
        for _ in 0..2 {
            cluster.run();
            cluster.judge(verdict);
        }
        cluster.run();
    }
    assert_released(&cluster, "v5");
    let runs = cluster
        .objects
        .keys()
        .filter(|(kind, _)| *kind == Kind::AnalysisRun);
    let runs: Vec<String> = runs.map(|(_, name)| readable(name)).collect();
    assert_eq!(
        runs,
        [
            "checkout-v4-4-step-1",
            "checkout-v5-5-step-1",
            "checkout-v5-5-step-3"
        ]
    );
}

#[test]
fn the_old_version_stays_warm_for_the_delay() {
    let mut cluster = deployed(nginx_with(
        json!([{"setWeight": 100}]),
        json!({"scaleDownDelaySeconds": 60}),
    ));
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.status().stable_rs == Some(crate::fixture::hash("v2")));
    cluster.wait(50);
    assert_eq!(cluster.pods("v1"), 5);
    cluster.wait(15);
    assert_eq!(cluster.pods("v1"), 0);
}

#[test]
fn versions_beyond_the_limit_go_with_their_runs() {
    let steps = json!([{"analysis": {"templates": [{"templateName": "errors"}]}}]);
    let mut cluster = nginx(steps);
    cluster.edit_rollout(|rollout| rollout["spec"]["revisionHistoryLimit"] = json!(1));
    cluster.run();
    for version in ["v2", "v3", "v4"] {
        cluster.deploy(version);
        cluster.run();
        cluster.judge("Successful");
        cluster.run();
        assert_released(&cluster, version);
    }
    let count = |kind| cluster.objects.keys().filter(|(found, _)| *found == kind).count();
    assert_eq!(
        (count(Kind::ReplicaSet), count(Kind::AnalysisRun)),
        (2, 2),
        "{}",
        cluster.what_happened()
    );
}

#[test]
fn a_revision_in_the_rollback_window_skips_the_steps() {
    let mut cluster = nginx(five_steps());
    cluster.edit_rollout(|rollout| rollout["spec"]["rollbackWindow"] = json!({"revisions": 2}));
    cluster.run();
    release(&mut cluster, "v2");
    release(&mut cluster, "v3");
    cluster.log.clear();
    cluster.deploy("v2");
    cluster.run();
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("rollback_window", cluster.what_happened());
}

#[test]
fn a_version_that_was_never_stable_has_no_place_in_the_rollback_window() {
    let mut cluster = nginx(five_steps());
    cluster.edit_rollout(|rollout| rollout["spec"]["rollbackWindow"] = json!({"revisions": 2}));
    cluster.run();
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Abort");
    cluster.run();
    release(&mut cluster, "v3");
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (3, 50),
        "{}",
        cluster.explain()
    );
}

#[test]
fn a_newer_version_takes_over_from_the_canary() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(cluster.weight(), 50);
    cluster.log.clear();
    release(&mut cluster, "v3");
    assert_released(&cluster, "v3");
    insta::assert_snapshot!("v3_over_v2", cluster.what_happened());
}

#[test]
fn steps_edited_ahead_go_on_and_steps_edited_behind_begin_again() {
    for (edited, index, weight) in [(4, 3, 50), (0, 1, 30)] {
        let mut cluster = deployed(nginx(json!([
            {"setWeight": 20}, {"pause": {"duration": "1s"}}, {"setWeight": 50}, {"pause": {}}, {"setWeight": 80},
        ])));
        cluster.deploy("v2");
        cluster.run();
        assert_eq!((cluster.step(), cluster.weight()), (3, 50));
        let highest = cluster.weight();
        cluster.edit_rollout(|rollout| {
            let steps = &mut rollout["spec"]["strategy"]["canary"]["steps"];
            steps[edited]["setWeight"] = json!(30);
            if edited == 0 {
                steps[1] = json!({"pause": {}});
            }
        });
        let mut seen = 0;
        cluster.run_until(|cluster| {
            seen = seen.max(cluster.weight());
            false
        });
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (index, weight),
            "{}",
            cluster.what_happened()
        );
        assert!(seen <= highest);
    }
}

#[test]
fn a_pause_goes_on_when_a_later_step_is_edited_and_begins_anew_when_it_is_edited_itself() {
    for (edited, step, ends) in [
        (2, json!({"setWeight": 60}), 60),
        (1, json!({"pause": {"duration": "61s"}}), 91),
    ] {
        let mut cluster = deployed(nginx(json!([
            {"setWeight": 20}, {"pause": {"duration": "60s"}}, {"setWeight": 50}, {"pause": {}},
        ])));
        cluster.deploy("v2");
        cluster.run_until(|cluster| cluster.step() == 1);
        let begun = cluster.now;
        cluster.wait(30);
        cluster.edit_rollout(|rollout| {
            rollout["spec"]["strategy"]["canary"]["steps"][edited] = step.clone();
        });
        cluster.run_until(|cluster| cluster.step() == 2);
        let lasted = (cluster.now - begun).num_seconds();
        assert_eq!(lasted, ends, "{}", cluster.what_happened());
    }
}

#[test]
fn a_pause_in_the_spec_stops_the_steps_only() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.step() == 1);
    cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(true));
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight(), cluster.phase()),
        (1, 20, Phase::Paused)
    );
    cluster.scale(10);
    cluster.run();
    assert_eq!(
        (cluster.pods("v1"), cluster.pods("v2"), cluster.step()),
        (10, 2, 1),
        "{}",
        cluster.what_happened()
    );
    cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(false));
    cluster.run();
    assert_eq!((cluster.step(), cluster.weight()), (3, 50));
}

#[test]
fn nothing_is_written_at_rest() {
    let mut cluster = deployed(nginx(five_steps()));
    for _ in 0..5 {
        cluster.now += chrono::Duration::seconds(100);
        let (planned, changed) = cluster.round();
        assert!(!changed, "{planned:#?}");
        assert_eq!(planned.requeue_at, None);
    }
}

#[test]
fn the_largest_numbers_fit() {
    let routing = json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}]}, "maxTrafficWeight": 1_000_000});
    let steps = json!([{"setWeight": 1}, {"setWeight": 999_999}, {"pause": {}}]);
    let mut cluster = gateway_with(steps, json!({"trafficRouting": routing}));
    cluster.edit_rollout(|rollout| rollout["spec"]["replicas"] = json!(100_000));
    cluster.run();
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.weight(), cluster.pods("v2")),
        (999_999, 100_000),
        "{}",
        cluster.what_happened()
    );
    cluster.command("Abort");
    cluster.run();
    assert_eq!(
        (cluster.weight(), cluster.pods("v1"), cluster.pods("v2")),
        (0, 100_000, 0)
    );
}
