//! A cluster at rest is not written to: not by more rounds, and not when everything is read live again (S16).

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::controllers::context::Context;
use tidegate::controllers::rollout::reconcile_rollout;
use tidegate::controllers::run::{Settings, start};
use tidegate::sandbox::controllers;
use tidegate::sandbox::pods::{self, Addresses, NoSockets, Nodes};
use tidegate::sandbox::rng::Rng;
use tokio::task::JoinSet;

use crate::until;
use crate::world::{World, Zero};

const PREFIX: &str = "nginx.ingress.kubernetes.io";

fn service(app: &str, role: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("{app}-{role}")},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
    })
}

fn ingress(app: &str) -> Value {
    let backend = json!({"service": {"name": format!("{app}-stable"), "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": app},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": format!("{app}.example"), "http": {"paths": [path]}}],
        },
    })
}

/// Two pods behind an Ingress, with the routing's shortest settle time.
fn with_routing(app: &str) -> Value {
    json!({"spec": {"replicas": 2, "strategy": {"canary": {
        "stableService": format!("{app}-stable"), "canaryService": format!("{app}-canary"),
        "trafficRouting": {"settleSeconds": 1, "nginx": {"stableIngress": app}},
        "scaleDownDelaySeconds": 1, "abortScaleDownDelaySeconds": 1,
        "steps": [{"setWeight": 10}, {"setWeight": 50}],
    }}}})
}

/// A Rollout with its Services and its Ingress.
pub fn post_routed(world: &World, app: &str) {
    for role in ["stable", "canary"] {
        world.post(Resource::Service, &service(app, role));
    }
    world.post(Resource::Ingress, &ingress(app));
    world.post(Resource::Rollout, &crate::world::rollout(app));
    world.edit_named(app, &with_routing(app));
}

/// The controllers and nodes of a cluster, for pods that serve nothing.
pub fn run_cluster(world: &World) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let client = |actor| world.server.client(actor);
    tasks.spawn(controllers::run(
        client("controllers"),
        Clock::System,
        Rng::new(1),
        vec![],
    ));
    let nodes = Nodes::new(client("nodes"), Addresses::loopback(), NoSockets);
    tasks.spawn(pods::run(nodes, Clock::System));
    tasks
}

fn status(world: &World, field: &str) -> Option<Value> {
    let rollout = world.object("Rollout", "checkout");
    rollout.pointer(&format!("/status/{field}")).cloned()
}

/// Many releases at once are no more work than as many one after another: nobody is made to wait by rounds that
/// were not needed.
#[tokio::test]
async fn releases_at_once_cost_no_more_than_alone() {
    const OTHERS: u64 = 40;
    let world = World::at(Clock::System);
    world.remove(Resource::Rollout, "checkout");
    let names: Vec<String> = (0..=OTHERS).map(|number| format!("app-{number}")).collect();
    names.iter().for_each(|name| post_routed(&world, name));
    let _cluster = run_cluster(&world);
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    let is_released = |name: &String, revision: u64| {
        let rollout = world.object("Rollout", name);
        rollout.pointer("/status/phase") == Some(&json!("Healthy"))
            && rollout.pointer("/status/revision") == Some(&json!(revision))
            && rollout.pointer("/status/replicas") == Some(&json!(2))
    };
    until(|| names.iter().all(|name| is_released(name, 1))).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    let mut spent = Vec::new();
    for released in [&names[..1], &names[1..]] {
        let before = requests(&world);
        released.iter().for_each(|name| world.edit_named(name, &image));
        until(|| released.iter().all(|name| is_released(name, 2))).await;
        spent.push(requests(&world) - before);
    }
    controller.stop().await;
    let (alone, together) = (spent[0], spent[1]);
    assert!(
        together <= OTHERS * alone * 3 / 2,
        "{together} requests for {OTHERS} releases at once, {alone} for one alone"
    );
}

/// What the controller has asked the API server so far.
pub fn requests(world: &World) -> u64 {
    let counts = world.server.request_counts();
    let ours = counts.iter().filter(|(actor, ..)| actor.starts_with("tidegate"));
    // What people are told is in nobody's way.
    let ours = ours.filter(|(_, _, resource, _)| *resource != "events");
    ours.map(|(.., count)| count).sum()
}

/// Rounds with the caches of a controller that has just started, each so much later that all is read live.
async fn assert_nothing_is_written(world: &World) {
    let writes = world.writes();
    let clock = Clock::virtual_at(world.now());
    let api = tidegate::client::Api::new(world.server.client("tidegate"));
    let planner = Arc::new(tidegate::plan::plan);
    let context = Context::new(api, clock.clone(), planner, Arc::new(Zero));
    world.catch_up(&context).await;
    for round in 0..10 {
        let before = requests(world);
        reconcile_rollout(&context, &world.key).await.unwrap();
        assert_eq!(world.writes(), writes, "round {round}");
        assert!(
            round == 0 || requests(world) > before,
            "round {round} read nothing live"
        );
        clock.set(clock.now() + TimeDelta::seconds(301));
    }
}

#[tokio::test]
async fn after_every_end_of_a_release_nothing_is_written_any_more() {
    let world = World::at(Clock::System);
    world.remove(Resource::Rollout, "checkout");
    post_routed(&world, "checkout");
    let _cluster = run_cluster(&world);
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    let weight = || {
        let canary = world.object("Ingress", "checkout-checkout-canary");
        canary
            .pointer(&format!("/metadata/annotations/{}~1canary-weight", PREFIX))
            .cloned()
    };

    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    let healthy = || status(&world, "phase") == Some(json!("Healthy"));
    until(healthy).await;
    controller.stop().await;
    assert_nothing_is_written(&world).await;

    world.edit(&image("web:2"));
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    let promoted = || {
        healthy()
            && status(&world, "revision") == Some(json!(2))
            && status(&world, "replicas") == Some(json!(2))
    };
    until(promoted).await;
    let metrics = || controller.context.metrics.encode();
    until(|| metrics().contains("tidegate_promotions_total 1\n")).await;
    until(|| metrics().contains("tidegate_rollouts{phase=\"Healthy\"} 1\n")).await;
    assert!(!metrics().contains("tidegate_rollout_weight{"), "{}", metrics());
    controller.stop().await;
    assert_eq!(weight(), Some(json!("0")));
    assert_nothing_is_written(&world).await;

    world.edit(&json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}}}}));
    world.edit(&image("web:3"));
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    until(|| status(&world, "phase") == Some(json!("Paused"))).await;
    assert_eq!(weight(), Some(json!("10")));
    let metrics = || controller.context.metrics.encode();
    let named = "namespace=\"shop\",rollout=\"checkout\"";
    for shown in [
        format!("tidegate_rollout_weight{{{named}}} 10\n"),
        format!("tidegate_rollout_step{{{named}}} 1\n"),
        format!("tidegate_rollout_waiting{{{named},reason=\"Promotion\"}} 1\n"),
    ] {
        until(|| metrics().contains(&shown)).await;
    }
    let before = requests(&world);
    world.post(Resource::RolloutCommand, &abort());
    let turned_back =
        || status(&world, "phase") == Some(json!("Degraded")) && status(&world, "replicas") == Some(json!(2));
    until(turned_back).await;
    for shown in [
        "tidegate_aborts_total{by=\"command\"} 1\n".to_owned(),
        "tidegate_abort_seconds_count{by=\"command\"} 1\n".to_owned(),
        format!("tidegate_rollout_weight{{{named}}} 0\n"),
        format!("tidegate_rollout_waiting{{{named},reason=\"NewVersion\"}} 1\n"),
    ] {
        until(|| metrics().contains(&shown)).await;
    }
    controller.stop().await;
    assert_eq!(weight(), Some(json!("0")));
    let asked = requests(&world) - before;
    assert!(asked <= 60, "{asked} requests for one abort");
    assert_nothing_is_written(&world).await;
}

fn abort() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
        "metadata": {"name": "abort", "namespace": "shop"},
        "spec": {"rollout": "checkout", "verb": "Abort"},
    })
}
