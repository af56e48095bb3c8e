//! A status or a version that is lost.

use serde_json::json;
use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::Kind;

use super::trouble::{paused, set_weight};
use super::{assert_released, assert_stable, deployed};
use crate::fixture::{five_steps, hash, nginx, nginx_with};

#[test]
fn a_status_that_is_lost_is_found_again() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.edit_rollout(|rollout| {
        rollout.as_object_mut().unwrap().remove("status");
    });
    cluster.run();
    assert_released(&cluster, "v1");
    let mut cluster = paused();
    cluster.edit_rollout(|rollout| {
        rollout.as_object_mut().unwrap().remove("status");
    });
    cluster.log.clear();
    cluster.run();
    assert_stable(&cluster, "v1");
    assert_eq!(
        (cluster.phase(), cluster.step()),
        (Phase::Paused, 3),
        "{}",
        cluster.what_happened()
    );
}

/// Neither the spec nor the status knows of the canary Ingress any more.
#[test]
fn a_canary_ingress_that_nobody_knows_of_goes() {
    let mut cluster = paused();
    let mut foreign = cluster
        .object(Kind::Ingress, "checkout-web-canary")
        .unwrap()
        .clone();
    foreign["metadata"]["name"] = json!("foreign");
    foreign["metadata"]["ownerReferences"] = json!([{"uid": "other", "controller": true}]);
    cluster.put(Kind::Ingress, foreign);
    cluster.edit_rollout(|rollout| {
        rollout.as_object_mut().unwrap().remove("status");
        let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
        canary.remove("trafficRouting");
    });
    cluster.run();
    cluster.command("PromoteFull");
    cluster.run();
    assert_eq!(cluster.phase(), Phase::Healthy, "{}", cluster.explain());
    let ingresses = cluster.objects.keys().filter(|(kind, _)| *kind == Kind::Ingress);
    let names: Vec<&str> = ingresses.map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["foreign", "web"], "{}", cluster.what_happened());
}

/// The first version is gone before it was stable, and somebody gave weight to the canary: nobody answers.
#[test]
fn a_version_that_can_carry_everything_comes_where_nobody_answers() {
    let mut cluster = nginx(five_steps());
    cluster.run_until(|cluster| cluster.object(Kind::Ingress, "checkout-web-canary").is_some());
    cluster.remove(Kind::ReplicaSet, &format!("checkout-{}", hash("v1")));
    set_weight(&mut cluster, "50");
    cluster.deploy("v2");
    cluster.run();
    assert_released(&cluster, "v2");
}

/// A foreign weight is all that is seen, and what was in effect before it is forgotten.
#[test]
fn stable_keeps_its_pods_for_what_a_lost_status_knew() {
    let mut cluster = deployed(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.pods("v2") > 0);
    assert_eq!(cluster.weight(), 0);
    set_weight(&mut cluster, "27");
    cluster.edit_rollout(|rollout| {
        rollout.as_object_mut().unwrap().remove("status");
    });
    let mut fewest = 5;
    cluster.run_until(|cluster| {
        let weights = cluster.status().canary.weights;
        let verified = weights.is_some_and(|weights| weights.verified);
        fewest = fewest.min(cluster.pods("v1"));
        verified
    });
    assert_eq!(fewest, 5, "{}", cluster.what_happened());
    cluster.run();
    assert_eq!((cluster.phase(), cluster.step()), (Phase::Paused, 3));
}
