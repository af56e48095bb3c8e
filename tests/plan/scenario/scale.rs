//! Sizes that change in the middle of a release.

use serde_json::json;
use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::Kind;

use super::{assert_released, deployed};
use crate::cluster::Cluster;
use crate::fixture::{basic_with, five_steps, hash, nginx, nginx_with};

fn clusters() -> Vec<Cluster> {
    [
        nginx(five_steps()),
        nginx_with(five_steps(), json!({"dynamicStableScale": true})),
        basic_with(five_steps(), json!({})),
    ]
    .map(deployed)
    .into()
}

#[test]
fn up_and_down_in_mid_step() {
    for mut cluster in clusters() {
        cluster.deploy("v2");
        cluster.run();
        for replicas in [10, 2, 7, 1, 5] {
            cluster.scale(replicas);
            cluster.run();
            assert_eq!(
                (cluster.phase(), cluster.step()),
                (Phase::Paused, 3),
                "{}",
                cluster.what_happened()
            );
            assert!(
                cluster.pods("v1") + cluster.pods("v2") >= replicas,
                "{}",
                cluster.what_happened()
            );
        }
        cluster.command("Promote");
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

#[test]
fn to_zero_and_back_in_mid_step() {
    for mut cluster in clusters() {
        cluster.deploy("v2");
        cluster.run();
        cluster.edit_rollout(|rollout| rollout["spec"]["progressDeadlineAbort"] = json!(true));
        cluster.scale(0);
        cluster.run();
        cluster.wait(3600);
        assert_eq!(
            (cluster.pods("v1"), cluster.pods("v2")),
            (0, 0),
            "{}",
            cluster.what_happened()
        );
        cluster.scale(5);
        cluster.run();
        assert_eq!(
            (cluster.phase(), cluster.step()),
            (Phase::Paused, 3),
            "{}",
            cluster.what_happened()
        );
        cluster.command("Promote");
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

#[test]
fn the_order_of_scaling_down_in_mid_step() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.log.clear();
    cluster.scale(8);
    cluster.run();
    cluster.scale(2);
    cluster.run();
    insta::assert_snapshot!("scale_in_mid_step", cluster.what_happened());
}

#[test]
fn replicas_and_template_together() {
    for mut cluster in clusters() {
        cluster.deploy("v2");
        cluster.scale(7);
        cluster.run();
        cluster.command("Promote");
        cluster.run();
        assert_eq!(
            (cluster.phase(), cluster.pods("v1"), cluster.pods("v2")),
            (Phase::Healthy, 0, 7)
        );
    }
}

#[test]
fn without_replicas_the_live_number_stands() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.edit_rollout(|rollout| {
        rollout["spec"].as_object_mut().unwrap().remove("replicas");
    });
    cluster.run();
    assert_eq!(cluster.pods("v1"), 5);
    // An autoscaler can begin with it.
    assert_eq!(cluster.rollout().unwrap()["spec"]["replicas"], 5);
}

/// Shares of the traffic round up on both sides: a third of it leaves nothing of three stable pods to give.
#[test]
fn a_stable_that_shrinks_comes_to_its_end_whatever_the_number_of_pods() {
    let sizes = (1..=30).map(|replicas| (replicas, 100));
    for (replicas, max) in sizes.chain([(130, 100), (7, 1000)]) {
        if !super::is_sampled(replicas as usize, 1 + replicas as usize / 8) {
            continue;
        }
        for surge in 0..=2 {
            let routing = json!({"nginx": {"stableIngress": "web"}, "maxTrafficWeight": max});
            let extra = json!({
                "dynamicStableScale": true, "maxSurge": surge, "maxUnavailable": 1, "trafficRouting": routing,
            });
            let mut cluster = nginx_with(json!([{"setWeight": 40}]), extra);
            cluster.scale(replicas);
            cluster.run();
            cluster.deploy("v2");
            let mut most = 0;
            cluster.run_until(|cluster| {
                most = most.max(cluster.pods("v1") + cluster.pods("v2"));
                false
            });
            assert_eq!(
                cluster.phase(),
                Phase::Healthy,
                "{replicas} {surge}\n{}",
                cluster.explain()
            );
            assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (0, replicas));
            let rounded = if replicas > 100 { replicas / 100 + 2 } else { 2 };
            assert!(
                most <= replicas + rounded,
                "{most} of {replicas} {surge}\n{}",
                cluster.what_happened()
            );
        }
    }
}

#[test]
fn the_autoscaler_sees_the_pods_that_carry_traffic() {
    let mut cluster = deployed(nginx(five_steps()));
    assert_eq!(cluster.status().hpa_replicas, 5);
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.status().replicas, cluster.status().hpa_replicas), (8, 8));
    cluster.command("Abort");
    cluster.run_until(|cluster| {
        let weights = cluster.status().canary.weights.unwrap();
        weights.verified && weights.canary.weight.0 == 0
    });
    assert_eq!(
        (cluster.pods("v2"), cluster.status().hpa_replicas),
        (3, 5),
        "{}",
        cluster.explain()
    );
    let mut unrouted = deployed(basic_with(five_steps(), json!({})));
    unrouted.deploy("v2");
    unrouted.run();
    assert_eq!(unrouted.status().hpa_replicas, unrouted.status().replicas);
}

#[test]
fn replica_sets_without_any_annotation_are_given_the_first() {
    let mut cluster = deployed(nginx(five_steps()));
    let bare = |cluster: &mut Cluster, version: &str| {
        let name = format!("checkout-{}", hash(version));
        cluster.edit(Kind::ReplicaSet, &name, |set| {
            set["metadata"].as_object_mut().unwrap().remove("annotations");
        });
    };
    bare(&mut cluster, "v1");
    cluster.deploy("v2");
    cluster.run();
    bare(&mut cluster, "v2");
    cluster.command("Promote");
    cluster.run();
    assert_released(&cluster, "v2");
}
