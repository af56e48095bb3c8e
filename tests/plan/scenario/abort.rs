//! Ways back: aborts, retries, the old template applied again.

use serde_json::json;
use tidegate::api::rollout_status::{AbortSource, Phase};

use super::{assert_released, assert_turned_back, deployed, is_sampled};
use crate::cluster::Cluster;
use crate::fixture::{basic_with, five_steps, gateway_with, nginx, nginx_with};

/// Every kind of cluster, with `v1` deployed.
fn clusters() -> Vec<Cluster> {
    [
        nginx(five_steps()),
        gateway_with(five_steps(), json!({})),
        basic_with(five_steps(), json!({})),
        nginx_with(five_steps(), json!({"dynamicStableScale": true})),
        nginx_with(five_steps(), json!({"dynamicStableScale": true, "maxSurge": 1})),
    ]
    .map(deployed)
    .into()
}

/// Clusters in turn begin their sample at different moments, and together see more of them.
fn moments_of_all() -> impl Iterator<Item = Cluster> {
    clusters().into_iter().enumerate().flat_map(|(offset, cluster)| {
        let moments = moments(cluster).into_iter().enumerate();
        moments
            .filter(move |(index, _)| is_sampled(index + offset, 6))
            .flat_map(|(_, cluster)| [after_a_failover(&cluster), cluster])
    })
}

/// What was not written is forgotten.
fn after_a_failover(cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    cluster.unwritten = None;
    cluster
}

/// Rounds of a release of `v2`, from the edit to the end, each as a cluster of its own.
fn moments(mut cluster: Cluster) -> Vec<Cluster> {
    cluster.deploy("v2");
    let mut moments = vec![cluster.clone()];
    for _ in 0..400 {
        let (planned, changed) = cluster.round();
        if !changed {
            if cluster.phase() == Phase::Paused && planned.requeue_at.is_none() {
                cluster.command("Promote");
                continue;
            }
            let Some(due) = planned.requeue_at else { break };
            cluster.now = due;
            continue;
        }
        moments.push(cluster.clone());
    }
    assert_released(&cluster, "v2");
    moments
}

#[test]
fn an_abort_takes_the_traffic_back_at_every_moment() {
    for mut cluster in moments_of_all() {
        let in_release = cluster.status().stable_rs == Some(crate::fixture::hash("v1"));
        let known = cluster.status().current_pod_hash == Some(crate::fixture::hash("v2"));
        let command = cluster.command("Abort");
        cluster.run();
        if in_release && known {
            assert_turned_back(&cluster, "v1");
            assert_eq!(cluster.pods("v2"), 0, "{}", cluster.what_happened());
            assert_eq!(cluster.answer(&command), "Accepted");
        } else if known {
            assert_released(&cluster, "v2");
            assert_eq!(cluster.answer(&command), "Refused");
        }
    }
}

#[test]
fn the_old_template_brings_the_old_version_back_at_any_moment() {
    for mut cluster in moments_of_all() {
        if cluster.status().stable_rs == Some(crate::fixture::hash("v1")) {
            cluster.deploy("v1");
            cluster.run();
            assert_released(&cluster, "v1");
        }
    }
}

#[test]
fn a_third_version_begins_at_any_moment() {
    for mut cluster in moments_of_all() {
        cluster.deploy("v3");
        cluster.run();
        assert_eq!(
            (cluster.phase(), cluster.step()),
            (Phase::Paused, 3),
            "{}",
            cluster.what_happened()
        );
        cluster.command("PromoteFull");
        cluster.run();
        assert_released(&cluster, "v3");
    }
}

#[test]
fn the_order_of_an_abort() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.log.clear();
    cluster.command("Abort");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    let abort = cluster.status().abort_reason.unwrap();
    assert_eq!(
        (abort.by, abort.who.as_deref(), abort.reason.as_str()),
        (AbortSource::Command, Some("alice"), "because")
    );
    insta::assert_snapshot!("abort", cluster.what_happened());
}

#[test]
fn that_an_abort_has_arrived_is_shown_at_once() {
    let is_routed = |cluster: &Cluster| cluster.status().canary.weights.is_some();
    for mut cluster in clusters().into_iter().filter(is_routed) {
        cluster.deploy("v2");
        cluster.run();
        assert!(!cluster.status().spares_current());
        cluster.command("Abort");
        cluster.run_until(|cluster| cluster.weight() == 0);
        cluster.wait(1);
        assert!(cluster.status().spares_current(), "{}", cluster.what_happened());
    }
}

#[test]
fn an_abort_follows_stable_up_when_stable_had_shrunk() {
    let mut cluster = deployed(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.pods("v1"), cluster.weight()), (3, 50));
    cluster.log.clear();
    cluster.command("Abort");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    insta::assert_snapshot!("dynamic_abort", cluster.what_happened());
}

#[test]
fn the_weight_follows_a_slow_stable_down_through_the_earlier_weights() {
    let mut cluster = deployed(nginx_with(
        json!([{"setWeight": 20}, {"setWeight": 60}, {"pause": {}}]),
        json!({"dynamicStableScale": true}),
    ));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.pods("v1"), cluster.weight()), (2, 60));
    cluster.command("Abort");
    cluster
        .most_ready
        .insert(crate::fixture::hash("v1").to_string(), 4);
    cluster.run();
    assert_eq!(cluster.weight(), 20, "{}", cluster.what_happened());
    cluster.most_ready.clear();
    cluster.run();
    assert_turned_back(&cluster, "v1");
}

#[test]
fn an_aborted_canary_is_kept_for_good_if_asked_for() {
    let mut cluster = deployed(nginx_with(five_steps(), json!({"abortScaleDownDelaySeconds": 0})));
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Abort");
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert_eq!(cluster.pods("v2"), 3);
}

#[test]
fn a_retry_begins_at_the_first_step() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Abort");
    cluster.run();
    cluster.log.clear();
    cluster.command("Retry");
    cluster.run();
    assert_eq!(
        (cluster.phase(), cluster.step(), cluster.weight()),
        (Phase::Paused, 3, 50)
    );
    cluster.command("Promote");
    cluster.run();
    assert_released(&cluster, "v2");
    insta::assert_snapshot!("retry", cluster.what_happened());
}

#[test]
fn a_new_version_after_an_abort_is_released() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Abort");
    cluster.run();
    cluster.deploy("v3");
    cluster.run();
    assert!(!cluster.status().abort);
    assert_eq!((cluster.phase(), cluster.step()), (Phase::Paused, 3));
}

#[test]
fn a_deadline_ends_the_release_only_where_that_is_wanted() {
    for wanted in [false, true] {
        let mut cluster = deployed(nginx(five_steps()));
        cluster.edit_rollout(|rollout| {
            rollout["spec"]["progressDeadlineSeconds"] = json!(60);
            rollout["spec"]["progressDeadlineAbort"] = json!(wanted);
        });
        cluster
            .most_ready
            .insert(crate::fixture::hash("v2").to_string(), 0);
        cluster.deploy("v2");
        cluster.run();
        assert_eq!(cluster.phase(), Phase::Degraded, "{}", cluster.what_happened());
        assert_eq!(cluster.status().abort, wanted);
        assert_eq!(cluster.weight(), 0);
        let reason = if wanted {
            "Aborted"
        } else {
            "ProgressDeadlineExceeded"
        };
        assert_eq!(
            cluster.condition("Stalled"),
            ("True".to_owned(), reason.to_owned())
        );
        if !wanted {
            cluster.most_ready.clear();
            cluster.run();
            assert_eq!(
                (cluster.phase(), cluster.step()),
                (Phase::Paused, 3),
                "{}",
                cluster.what_happened()
            );
        }
    }
}
