//! Without traffic routing: the pods are the traffic, and named Services must not lose any of it.

use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::Kind;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{VERSIONS, five_steps, hash, nginx};

fn paused() -> Cluster {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.phase(), cluster.step(), cluster.weight()),
        (Phase::Paused, 3, 50)
    );
    cluster.log.clear();
    cluster
}

fn remove_routing(cluster: &mut Cluster) {
    cluster.edit_rollout(|rollout| {
        let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
        canary.remove("trafficRouting");
    });
}

/// Pods behind the stable Service.
fn behind_stable(cluster: &Cluster) -> i64 {
    let selected = cluster.selected("checkout-stable");
    let found = VERSIONS
        .iter()
        .filter(|version| selected == "everything" || selected == **version);
    found.map(|version| cluster.pods(version)).sum()
}

/// To the end, with the stable Service never below what may be unavailable.
fn run_served(cluster: &mut Cluster) {
    cluster.run_until(|cluster| {
        assert!(behind_stable(cluster) >= 4, "{}", cluster.what_happened());
        false
    });
}

#[test]
fn routing_that_is_no_longer_asked_for_is_taken_back() {
    for at_rest in [true, false] {
        let mut cluster = if at_rest {
            deployed(nginx(five_steps()))
        } else {
            paused()
        };
        cluster.log.clear();
        cluster.edit_rollout(|rollout| {
            rollout["spec"]["strategy"]["canary"]
                .as_object_mut()
                .unwrap()
                .remove("trafficRouting");
        });
        cluster.run();
        assert!(
            cluster
                .objects
                .keys()
                .filter(|(kind, _)| *kind == Kind::Ingress)
                .count()
                == 1,
            "{}",
            cluster.what_happened()
        );
        assert_eq!(cluster.status().canary.weights, None);
        if !at_rest {
            assert_eq!(
                (cluster.phase(), cluster.step()),
                (Phase::Paused, 3),
                "{}",
                cluster.what_happened()
            );
            cluster.command("Promote");
            cluster.run();
        }
        let stable = if at_rest { "v1" } else { "v2" };
        assert_released(&cluster, stable);
    }
}

#[test]
fn the_stable_service_keeps_its_pods_when_routing_is_removed_in_a_release() {
    let mut cluster = paused();
    remove_routing(&mut cluster);
    run_served(&mut cluster);
    assert_eq!(cluster.selected("checkout-stable"), "everything");
    assert_eq!(cluster.selected("checkout-canary"), "v2");
    cluster.command("Promote");
    run_served(&mut cluster);
    assert_released(&cluster, "v2");
    assert_eq!(cluster.selected("checkout-stable"), "v2");
}

#[test]
fn the_stable_service_follows_each_release_and_abort() {
    let mut cluster = deployed(nginx(five_steps()));
    remove_routing(&mut cluster);
    run_served(&mut cluster);
    for version in ["v2", "v3"] {
        cluster.deploy(version);
        run_served(&mut cluster);
        assert_eq!(cluster.phase(), Phase::Paused, "{}", cluster.explain());
        cluster.command("Promote");
        run_served(&mut cluster);
        assert_released(&cluster, version);
        assert_eq!(cluster.selected("checkout-stable"), version);
    }
    cluster.deploy("v4");
    run_served(&mut cluster);
    cluster.most_ready.insert(hash("v3").to_string(), 3);
    cluster.command("Abort");
    run_served(&mut cluster);
    assert_eq!(
        cluster.selected("checkout-stable"),
        "everything",
        "v3 cannot carry it all yet"
    );
    cluster.most_ready.clear();
    run_served(&mut cluster);
    assert_turned_back(&cluster, "v3");
    assert_eq!(cluster.selected("checkout-stable"), "v3");
}
