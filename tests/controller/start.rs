//! What a controller asks for when it starts, and of whom.

use std::time::Duration;

use serde_json::json;
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::controllers::run::{Settings, start};

use crate::steady::{post_routed, requests, run_cluster};
use crate::until;
use crate::world::{World, rollout};

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
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    for name in &names {
        until(|| world.object("Rollout", name).pointer("/status/phase") == Some(&json!("Healthy"))).await;
    }
    controller.stop().await;

    let (before, writes) = (requests(&world), world.writes());
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
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

#[tokio::test(start_paused = true)]
async fn a_rollout_of_another_namespace_is_left_untouched() {
    let world = World::new();
    world.post_in("bank", Resource::Rollout, &{
        let mut other = rollout("checkout");
        other["metadata"]["namespace"] = json!("bank");
        other
    });
    let other = || {
        world
            .server
            .inspect(|store| store.get("Rollout", "bank", "checkout"))
    };
    let before = other();
    let controller = start(
        world.context(tidegate::plan::plan),
        Settings {
            namespaces: ["shop".to_owned()].into(),
            ..Settings::default()
        },
    );
    until(|| !world.list("ReplicaSet").is_empty()).await;
    let name = world.list("ReplicaSet")[0].clone();
    until(|| world.object("ReplicaSet", &name).pointer("/spec/replicas") == Some(&json!(1))).await;
    world.report_available(&name, 1);
    let phase = || {
        world
            .object("Rollout", "checkout")
            .pointer("/status/phase")
            .cloned()
    };
    until(|| phase() == Some(json!("Healthy"))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    controller.stop().await;
    assert_eq!(other(), before);
    assert_eq!(world.list("ReplicaSet"), [name]);
}
