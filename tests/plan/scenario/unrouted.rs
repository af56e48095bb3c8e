//! Without traffic routing: the pods are the traffic, and named Services must not lose any of it.

use serde_json::json;
use tidegate::api::patch::PatchOp;
use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::{Action, Kind};
use tidegate::plan::plan;
use tidegate::plan::snapshot::Snapshot;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{VERSIONS, basic_with, five_steps, hash, nginx};

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

/// Whether a plan makes a ReplicaSet smaller, or gives the canary more traffic.
fn takes_a_risk(cluster: &Cluster, snapshot: &Snapshot) -> bool {
    let planned = plan(snapshot, cluster.now);
    let mut writes = planned.stages.iter().flat_map(|stage| &stage.writes);
    writes.any(|write| {
        let Action::Patch { ops, .. } = &write.action else {
            return false;
        };
        let wanted = |path: &str| {
            ops.iter().find_map(|op| match op {
                PatchOp::Replace { path: at, value } | PatchOp::Add { path: at, value } if at == path => {
                    Some(value.clone())
                }
                _ => None,
            })
        };
        let weight = wanted("/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight");
        let weight = weight.and_then(|weight| weight.as_str()?.parse::<i64>().ok());
        match write.target.kind {
            Kind::ReplicaSet => {
                let before = snapshot.replica_sets[&write.target.name].replicas;
                wanted("/spec/replicas").is_some_and(|replicas| replicas.as_i64() < Some(before))
            }
            _ => weight.is_some_and(|weight| weight > cluster.weight()),
        }
    })
}

#[test]
fn nothing_depends_on_pods_that_a_change_of_size_may_have_cost() {
    for released in [basic_with(five_steps(), json!({})), nginx(five_steps())] {
        let mut cluster = deployed(released);
        cluster.deploy("v2");
        let mut risks = 0;
        cluster.run_until(|cluster| {
            let mut snapshot = cluster.snapshot();
            if !takes_a_risk(cluster, &snapshot) {
                return false;
            }
            risks += 1;
            for set in snapshot.replica_sets.values_mut() {
                set.caught_up = false;
            }
            assert!(!takes_a_risk(cluster, &snapshot), "{}", cluster.explain());
            false
        });
        assert!(risks > 0, "{}", cluster.explain());
    }
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

#[test]
fn of_two_older_versions_the_broken_one_goes_first() {
    let mut cluster = basic_with(five_steps(), json!({}));
    let pause = |cluster: &mut Cluster, paused: bool| {
        cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(paused));
    };
    // Held in its first release, v1 serves and is not stable yet.
    pause(&mut cluster, true);
    cluster.run();
    assert_eq!(cluster.pods("v1"), 5, "{}", cluster.what_happened());
    cluster.most_ready.insert(hash("v3").to_string(), 0);
    for version in ["v3", "v2"] {
        cluster.deploy(version);
        cluster.run_until(|cluster| {
            let ready = cluster.pods("v1") + cluster.pods("v2");
            assert!(ready >= 4, "{}", cluster.what_happened());
            false
        });
    }
    assert_eq!(cluster.pods("v3"), 0, "{}", cluster.what_happened());
    pause(&mut cluster, false);
    cluster.run();
    assert_released(&cluster, "v2");
}
