//! What a promotion costs the API server: every write, and what it is for.

use serde_json::json;
use tidegate::api::rollout_status::WaitingReason;

use super::{assert_released, deployed};
use crate::cluster::Cluster;
use crate::fixture::{five_steps, hash, nginx, nginx_with};

/// Two weights without a pause, with this time to settle.
fn promoted(settle_seconds: u32) -> Cluster {
    let routing = json!({"settleSeconds": settle_seconds, "nginx": {"stableIngress": "web"}});
    let steps = json!([{"setWeight": 10}, {"setWeight": 50}]);
    let mut cluster = deployed(nginx_with(steps, json!({"trafficRouting": routing})));
    cluster.writes.clear();
    cluster.deploy("v2");
    cluster.run();
    assert_released(&cluster, "v2");
    cluster
}

#[test]
fn a_wait_that_lasts_is_shown() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.most_ready.insert(hash("v2").to_string(), 0);
    cluster.deploy("v2");
    cluster.wait(9);
    let shown = cluster.status();
    assert_eq!(shown.waiting_on.unwrap().reason, WaitingReason::CanaryPods);
    assert_eq!((shown.replicas, shown.updated_replicas), (6, 1));
}

/// A line more here is a line more for every release of every Rollout.
#[test]
fn each_write_of_a_promotion_has_its_reason() {
    for settle_seconds in [1, 5] {
        let cluster = promoted(settle_seconds);
        insta::assert_snapshot!(
            format!("writes_when_settled_after_{settle_seconds}s"),
            format!("{} writes\n{}", cluster.writes.len(), cluster.writes.join("\n"))
        );
    }
}
