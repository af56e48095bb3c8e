//! How far a promotion comes by what is seen of the traffic, and what holds it.

use serde_json::json;

use super::{assert_released, assert_stable, deployed};
use crate::fixture::{five_steps, hash, nginx, nginx_with};

/// The traffic has come far enough for the next stage, and stays.
#[test]
fn a_promotion_is_held_where_it_is() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Promote");
    cluster.run_until(|cluster| cluster.selected("checkout-stable") == "v2");
    assert_eq!(cluster.weight(), 100);
    let good = cluster.rollout().unwrap()["spec"].clone();
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["strategy"]["canary"]["steps"][0] = json!({"setWeight": 101});
    });
    cluster.run();
    assert_eq!(
        (cluster.condition("Valid").0.as_str(), cluster.weight()),
        ("False", 100)
    );
    cluster.edit_rollout(|rollout| rollout["spec"] = good);
    cluster.run();
    assert_released(&cluster, "v2");
}

/// Somebody else points the stable Service at a version that has not all of its pods.
#[test]
fn a_promotion_that_somebody_hurries_waits_for_its_pods() {
    let steps = json!([{"setCanaryScale": {"replicas": 1}}, {"pause": {}}]);
    let mut cluster = deployed(nginx_with(steps, json!({})));
    cluster.deploy("v2");
    cluster.run();
    cluster.most_ready.insert(hash("v2").to_string(), 1);
    cluster.command("Promote");
    cluster.run_until(|cluster| cluster.status().promotion.is_some());
    cluster.select("checkout-stable", "v2");
    cluster.run();
    assert_stable(&cluster, "v1");
    assert_eq!(cluster.pods("v1"), 5);
    cluster.most_ready.clear();
    cluster.run();
    assert_released(&cluster, "v2");
}
