//! A crash or a refused write at any point: the same end is reached, and nothing is lost on the way.

use serde_json::{Value, json};
use tidegate::api::rollout_status::{Phase, Promotion};

use super::{assert_released, assert_turned_back, deployed, is_sampled};
use crate::cluster::{Cluster, Fault};
use crate::fixture::{basic_with, five_steps, gateway_with, nginx, nginx_with};

fn clusters() -> Vec<Cluster> {
    [
        nginx(five_steps()),
        gateway_with(five_steps(), json!({})),
        basic_with(five_steps(), json!({})),
        nginx_with(five_steps(), json!({"dynamicStableScale": true})),
    ]
    .map(deployed)
    .into()
}

/// Specs of everything but names of objects.
fn end_state(cluster: &Cluster) -> Vec<(String, Value)> {
    cluster
        .objects
        .iter()
        .map(|((kind, name), object)| (format!("{kind:?} {name}"), object["spec"].clone()))
        .collect()
}

/// Goes on for one fault after another: a number of rounds, then one write of that round is lost.
fn with_every_fault(begin: impl Fn(&mut Cluster), end: impl Fn(&mut Cluster)) {
    for (offset, base) in clusters().into_iter().enumerate() {
        let mut tried = offset;
        let mut straight = base.clone();
        begin(&mut straight);
        let mut calm = straight.clone();
        end(&mut calm);
        let expected = end_state(&calm);
        for _ in 0..120 {
            let mut trial = straight.clone();
            let (planned, changed) = trial.round();
            let writes = planned.stages.iter().map(|stage| stage.writes.len()).sum();
            let faults = (0..writes).map(Fault::Write);
            let faults = faults
                .chain(changed.then_some(Fault::Status))
                .chain([Fault::Restart]);
            for fault in faults {
                tried += 1;
                if !is_sampled(tried, 13) {
                    continue;
                }
                let mut cluster = straight.clone();
                cluster.round_with(fault);
                end(&mut cluster);
                assert_eq!(
                    end_state(&cluster),
                    expected,
                    "{fault:?}\n{}",
                    cluster.what_happened()
                );
            }
            straight = trial;
            if !changed {
                let Some(due) = planned.requeue_at else { break };
                straight.now = due;
            }
        }
    }
}

#[test]
fn in_a_release() {
    let begin = |cluster: &mut Cluster| cluster.deploy("v2");
    let end = |cluster: &mut Cluster| {
        cluster.run();
        if cluster.phase() == Phase::Paused {
            cluster.command("PromoteFull");
            cluster.run();
            let commands = tidegate::plan::model::Kind::RolloutCommand;
            cluster.objects.retain(|(kind, _), _| *kind != commands);
        }
        assert_released(cluster, "v2");
    };
    with_every_fault(begin, end);
}

#[test]
fn in_a_promotion() {
    let begin = |cluster: &mut Cluster| {
        cluster.deploy("v2");
        cluster.run();
        cluster.command("Promote");
    };
    let end = |cluster: &mut Cluster| {
        cluster.run();
        assert_released(cluster, "v2");
    };
    with_every_fault(begin, end);
}

/// No status tells how far the promotion was: the traffic does.
#[test]
fn a_promotion_goes_on_from_where_the_traffic_is() {
    for most in [100, 0] {
        let has_come =
            |cluster: &Cluster| cluster.selected("checkout-stable") == "v2" && cluster.weight() == most;
        for mut cluster in clusters() {
            cluster.deploy("v2");
            cluster.run();
            if cluster.status().canary.routing.is_none() {
                continue;
            }
            cluster.command("Promote");
            assert!(!cluster.run_until(has_come), "{}", cluster.what_happened());
            assert_ne!(cluster.status().promotion, Some(Promotion::WeightToStable));
            cluster.round_with(Fault::Restart);
            cluster.run_until(|cluster| {
                assert!(cluster.weight() <= most, "{}", cluster.what_happened());
                assert_eq!(
                    cluster.selected("checkout-stable"),
                    "v2",
                    "{}",
                    cluster.what_happened()
                );
                false
            });
            assert_released(&cluster, "v2");
        }
    }
}

#[test]
fn in_an_abort() {
    let begin = |cluster: &mut Cluster| {
        cluster.deploy("v2");
        cluster.run();
        cluster.command("Abort");
    };
    let end = |cluster: &mut Cluster| {
        cluster.run();
        assert_turned_back(cluster, "v1");
    };
    with_every_fault(begin, end);
}

#[test]
fn in_a_takeover() {
    let begin = |cluster: &mut Cluster| {
        cluster.deploy("v2");
        cluster.run();
        cluster.deploy("v3");
    };
    let end = |cluster: &mut Cluster| {
        cluster.run();
        assert_eq!(
            (cluster.phase(), cluster.step()),
            (Phase::Paused, 3),
            "{}",
            cluster.what_happened()
        );
    };
    with_every_fault(begin, end);
}
