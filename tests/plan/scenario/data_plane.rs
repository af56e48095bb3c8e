//! A data plane that is asked for what it does, and does something else, or says nothing.

use serde_json::json;
use tidegate::api::rollout_status::{Phase, WaitingReason};

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::{Cluster, DataPlane};
use crate::fixture::{ask_data_plane, five_steps, gateway_with, hash, nginx_with};

/// Every kind of cluster whose data plane is asked, with `v1` deployed.
fn clusters() -> [Cluster; 3] {
    let with = |mut cluster: Cluster| {
        ask_data_plane(&mut cluster);
        deployed(cluster)
    };
    [
        with(nginx_with(five_steps(), json!({}))),
        with(gateway_with(five_steps(), json!({}))),
        with(nginx_with(five_steps(), json!({"dynamicStableScale": true}))),
    ]
}

/// `v2` at the pause with half of the traffic.
fn at_half(mut cluster: Cluster) -> Cluster {
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.phase(), cluster.weight()),
        (Phase::Paused, 50),
        "{}",
        cluster.explain()
    );
    cluster
}

fn assert_waits_for_data_plane(cluster: &Cluster, says: &str) {
    let waiting = cluster.status().waiting_on;
    let fits = waiting
        .as_ref()
        .is_some_and(|waiting| waiting.reason == WaitingReason::DataPlane && waiting.message.contains(says));
    assert!(fits, "{}", cluster.explain());
}

#[test]
fn a_data_plane_that_agrees_lets_everything_pass() {
    for cluster in clusters() {
        let mut cluster = at_half(cluster);
        cluster.command("Promote");
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

#[test]
fn a_weight_that_is_ignored_never_passes_its_step() {
    for mut cluster in clusters() {
        cluster.data_plane = DataPlane::Ignores(0);
        cluster.deploy("v2");
        cluster.run();
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (0, 20),
            "{}",
            cluster.explain()
        );
        assert_waits_for_data_plane(
            &cluster,
            "to give Service checkout-canary weight 20 of 100; it gives 0 % of the requests",
        );
        assert_eq!(cluster.phase(), Phase::Degraded, "past progressDeadlineSeconds");
        cluster.data_plane = DataPlane::Obeys;
        cluster.run();
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (3, 50),
            "{}",
            cluster.explain()
        );
    }
}

#[test]
fn without_an_answer_nothing_goes_forward() {
    for mut cluster in clusters() {
        cluster.data_plane = DataPlane::IsSilent;
        cluster.deploy("v2");
        cluster.run();
        // The canary Service has moved, and nobody says that it still gets nothing.
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (0, 0),
            "{}",
            cluster.explain()
        );
        assert_waits_for_data_plane(&cluster, "nothing is known: no answer within 10 s");
        cluster.data_plane = DataPlane::Obeys;
        let mut cluster = at_half(cluster);
        cluster.data_plane = DataPlane::IsSilent;
        cluster.command("Promote");
        cluster.run();
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (4, 80),
            "{}",
            cluster.explain()
        );
        cluster.data_plane = DataPlane::Obeys;
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

#[test]
fn an_abort_waits_for_no_word_and_pods_for_a_bounded_time() {
    for cluster in clusters() {
        let mut cluster = at_half(cluster);
        cluster.data_plane = DataPlane::IsSilent;
        cluster.command("Abort");
        let begun = cluster.now;
        cluster.run_until(|cluster| cluster.weight() == 0);
        let took = (cluster.now - begun).num_seconds();
        assert!(took <= 10, "{took} s\n{}", cluster.explain());
        let pods = cluster.pods("v2");
        cluster.wait(60);
        assert_eq!(cluster.pods("v2"), pods, "{}", cluster.explain());
        cluster.run();
        assert_turned_back(&cluster, "v1");
        assert_eq!(cluster.pods("v2"), 0, "{}", cluster.explain());
    }
}

/// It is known that they still get requests, so they stay for as long as that is so.
#[test]
fn pods_that_the_data_plane_still_uses_stay() {
    for cluster in clusters() {
        let mut cluster = at_half(cluster);
        cluster.data_plane = DataPlane::Ignores(50);
        cluster.command("Abort");
        cluster.run();
        assert_eq!(cluster.weight(), 0);
        assert!(cluster.pods("v2") >= 3, "{}", cluster.explain());
        assert_waits_for_data_plane(&cluster, "weight 0 of 100; it gives 50 % of the requests");
        cluster.data_plane = DataPlane::Obeys;
        cluster.run();
        assert_turned_back(&cluster, "v1");
        assert_eq!(cluster.pods("v2"), 0, "{}", cluster.explain());
    }
}

#[test]
fn a_superseded_version_keeps_its_pods_until_the_data_plane_agrees() {
    for cluster in clusters() {
        let mut cluster = at_half(cluster);
        cluster.data_plane = DataPlane::Ignores(50);
        cluster.deploy("v3");
        cluster.run();
        assert!(cluster.pods("v2") >= 3, "{}", cluster.explain());
        assert_eq!(cluster.selected("checkout-canary"), "v2", "{}", cluster.explain());
        cluster.data_plane = DataPlane::Obeys;
        cluster.run();
        assert_eq!(
            (cluster.weight(), cluster.pods("v2")),
            (50, 0),
            "{}",
            cluster.explain()
        );
        assert_eq!(cluster.selected("checkout-canary"), "v3");
    }
}

#[test]
fn what_goes_back_is_not_held_up_for_ever() {
    for cluster in clusters() {
        let mut cluster = at_half(cluster);
        cluster.data_plane = DataPlane::IsSilent;
        let mut rolled_back = cluster.clone();
        rolled_back.deploy("v1");
        rolled_back.run();
        assert_released(&rolled_back, "v1");
        let mut rerouted = cluster.clone();
        rerouted.edit_rollout(|rollout| {
            let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
            canary.remove("dynamicStableScale");
            canary.remove("trafficRouting");
        });
        rerouted.run();
        assert!(
            rerouted.status().canary.routing.is_none(),
            "{}",
            rerouted.explain()
        );
        cluster
            .edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2026-11-25T00:00:00Z"));
        cluster.run();
        assert!(!cluster.is_in_charge(), "{}", cluster.what_happened());
    }
}

#[test]
fn a_first_deploy_and_a_spec_without_the_field_come_to_rest() {
    let mut cluster = nginx_with(five_steps(), json!({}));
    ask_data_plane(&mut cluster);
    cluster.data_plane = DataPlane::IsSilent;
    let mut cluster = deployed(cluster);
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(cluster.status().stable_rs, Some(hash("v1")));
    // A person who knows better takes the question back.
    cluster.edit_rollout(|rollout| {
        let routing = &mut rollout["spec"]["strategy"]["canary"]["trafficRouting"];
        routing.as_object_mut().unwrap().remove("dataPlane");
    });
    let cluster = at_half(cluster);
    assert_eq!(cluster.pods("v2"), 3);
}
