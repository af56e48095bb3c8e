//! What a promotion costs the API server: every write, and what it is for.

use serde_json::{Value, json};
use tidegate::api::rollout_status::WaitingReason;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{five_steps, hash, nginx, nginx_with};

/// `v1`, with this time to settle.
fn settling_for(seconds: u32, steps: Value) -> Cluster {
    let routing = json!({"settleSeconds": seconds, "nginx": {"stableIngress": "web"}});
    deployed(nginx_with(steps, json!({"trafficRouting": routing})))
}

fn writes_of(cluster: &Cluster) -> String {
    format!("{} writes\n{}", cluster.writes.len(), cluster.writes.join("\n"))
}

/// No pod of `v2` has got ready for nine seconds.
fn waiting_for_pods() -> Cluster {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.most_ready.insert(hash("v2").to_string(), 0);
    cluster.deploy("v2");
    cluster.wait(9);
    cluster
}

#[test]
fn a_wait_that_lasts_is_shown() {
    let cluster = waiting_for_pods();
    let shown = cluster.status();
    assert_eq!(shown.waiting_on.unwrap().reason, WaitingReason::CanaryPods);
    assert_eq!((shown.replicas, shown.updated_replicas), (6, 1));
}

#[test]
fn an_alarming_wait_is_not_shown_for_longer_than_it_is_true() {
    let mut cluster = waiting_for_pods();
    let shown = |cluster: &Cluster| cluster.status().waiting_on.map(|waiting| waiting.reason);
    assert_eq!(shown(&cluster), Some(WaitingReason::CanaryPods));
    cluster.most_ready.clear();
    cluster.wait(4);
    assert_ne!(
        shown(&cluster),
        Some(WaitingReason::CanaryPods),
        "{}",
        cluster.what_happened()
    );
}

/// A line more here is a line more for every release of every Rollout.
#[test]
fn each_write_of_a_promotion_has_its_reason() {
    for settle_seconds in [1, 5] {
        let mut cluster = settling_for(settle_seconds, json!([{"setWeight": 10}, {"setWeight": 50}]));
        cluster.writes.clear();
        cluster.deploy("v2");
        cluster.run();
        assert_released(&cluster, "v2");
        let name = format!("writes_when_settled_after_{settle_seconds}s");
        insta::assert_snapshot!(name, writes_of(&cluster));
    }
}

#[test]
fn each_write_of_an_abort_has_its_reason() {
    for settle_seconds in [1, 5] {
        let mut cluster = settling_for(settle_seconds, json!([{"setWeight": 10}, {"pause": {}}]));
        cluster.deploy("v2");
        cluster.run();
        cluster.writes.clear();
        cluster.command("Abort");
        cluster.run();
        assert_turned_back(&cluster, "v1");
        let name = format!("writes_of_an_abort_when_settled_after_{settle_seconds}s");
        insta::assert_snapshot!(name, writes_of(&cluster));
    }
}
