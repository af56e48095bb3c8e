//! What a controller asks for when it starts, and of whom.

use std::time::Duration;

use serde_json::json;
use tidegate::api::resource::Resource;
use tidegate::api::selector::LabelSelector;
use tidegate::clock::Clock;
use tidegate::controllers::run::{Settings, start};

use crate::steady::{post_routed, requests, run_cluster};
use crate::until;
use crate::world::{World, rollout, run};

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

/// A Rollout with this label, a run of it and a command for it.
fn post_share(world: &World, name: &str, shard: &str) {
    world.post(Resource::Rollout, &rollout(name));
    world.edit_named(name, &json!({"metadata": {"labels": {"shard": shard}}}));
    let mut run = run(&format!("{name}-run"), "vector(0)");
    *run.pointer_mut("/metadata/labels").unwrap() = json!({"tidegate.dev/rollout": name});
    world.post(Resource::AnalysisRun, &run);
    post_abort(world, name);
}

fn post_abort(world: &World, name: &str) {
    let command = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
        "metadata": {"name": format!("{name}-abort"), "namespace": "shop"},
        "spec": {"rollout": name, "verb": "Abort"},
    });
    world.post(Resource::RolloutCommand, &command);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_selected_is_left_to_another_controller_until_it_is() {
    let world = World::new();
    world.remove(Resource::Rollout, "checkout");
    post_share(&world, "ours", "a");
    post_share(&world, "theirs", "b");
    post_abort(&world, "nobody");
    let settings = Settings {
        selector: LabelSelector::parse("shard=a").unwrap(),
        ..Settings::default()
    };
    let controller = start(world.context(tidegate::plan::plan), settings);
    let phase = |kind: &str, name: String| world.object(kind, &name).pointer("/status/phase").cloned();
    let phases = |name: &str| {
        [
            phase("Rollout", name.to_owned()),
            phase("RolloutCommand", format!("{name}-abort")),
            phase("AnalysisRun", format!("{name}-run")),
        ]
    };
    until(|| phases("ours").iter().all(Option::is_some)).await;
    until(|| phase("RolloutCommand", "nobody-abort".to_owned()) == Some(json!("Refused"))).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(phases("theirs"), [None, None, None]);
    world.edit_named("theirs", &json!({"metadata": {"labels": {"shard": "a"}}}));
    until(|| phases("theirs").iter().all(Option::is_some)).await;
    // And away again.
    world.edit_named("theirs", &json!({"metadata": {"labels": {"shard": "b"}}}));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let writes = world.writes();
    world.edit_named("theirs", &json!({"spec": {"replicas": 3}}));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.writes(), writes);
    controller.stop().await;
}
