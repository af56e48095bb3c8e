//! What a controller asks for when it starts.

use std::time::Duration;

use serde_json::json;
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::controllers::run::start;

use crate::steady::{post_routed, requests, run_cluster};
use crate::until;
use crate::world::World;

const ROLLOUTS: u64 = 50;
/// A list and a watch of eight kinds, and a few that begin anew.
const FIXED: u64 = 20;

#[tokio::test]
async fn a_start_costs_two_requests_for_each_rollout_at_rest() {
    let world = World::at(Clock::System);
    world.remove(Resource::Rollout, "checkout");
    let names: Vec<String> = (0..ROLLOUTS).map(|number| format!("app-{number}")).collect();
    names.iter().for_each(|name| post_routed(&world, name));
    let _cluster = run_cluster(&world);
    let controller = start(world.context(tidegate::plan::plan), [].into());
    for name in &names {
        until(|| world.object("Rollout", name).pointer("/status/phase") == Some(&json!("Healthy"))).await;
    }
    controller.stop().await;

    let (before, writes) = (requests(&world), world.writes());
    let controller = start(world.context(tidegate::plan::plan), [].into());
    let metrics = || controller.context.metrics.encode();
    until(|| reconciles(&metrics()) >= ROLLOUTS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = requests(&world) - before;
    controller.stop().await;
    assert_eq!(world.writes(), writes);
    assert!(asked <= 2 * ROLLOUTS + FIXED, "{asked} requests");
}

fn reconciles(metrics: &str) -> u64 {
    let prefix = "tidegate_reconciles_total{kind=\"Rollout\",result=\"ok\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(prefix));
    count.map_or(0, |count| count.parse().unwrap())
}
