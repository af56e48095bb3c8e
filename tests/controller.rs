//! Observe, apply and the wiring around them, against the sandbox's API server.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is a failure")]

#[path = "controller/command.rs"]
mod command;
#[path = "controller/lead.rs"]
mod lead;
#[path = "controller/start.rs"]
mod start_up;
#[path = "controller/steady.rs"]
mod steady;
#[path = "controller/telling.rs"]
mod telling;
#[path = "controller/trouble.rs"]
mod trouble;
#[path = "controller/turn.rs"]
mod turn;
#[path = "controller/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::patch::PatchOp;
use tidegate::api::resource::Resource;
use tidegate::client::Failure;
use tidegate::clock::Clock;
use tidegate::controllers::context::Next;
use tidegate::controllers::rollout::{ReconcileError, reconcile_rollout};
use tidegate::controllers::run::{Settings, start};
use tidegate::plan::model::{Action, Kind, Plan};
use tidegate::plan::snapshot::Snapshot;
use tidegate::sandbox::api_server::Fault;

use world::{World, plan, precondition, replica_set, write};

#[tokio::test(start_paused = true)]
async fn a_plan_is_carried_out_once_and_a_second_round_writes_nothing() {
    let world = World::new();
    let context = world.context(|snapshot, _| {
        let create = Action::Create {
            object: replica_set("checkout-a", 0),
        };
        let missing = !snapshot.replica_sets.contains_key("checkout-a");
        let stages = missing.then(|| vec![write(Kind::ReplicaSet, "checkout-a", create)]);
        plan(stages.into_iter().collect(), "made")
    });
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(
        world.writes(),
        ["create ReplicaSet checkout-a", "patch Rollout checkout/status"]
    );
    // The caches have seen none of it: both objects are read live because we wrote them.
    reconcile_rollout(&context, &world.key).await.unwrap();
    world.catch_up(&context).await;
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_patch_of_another_version_or_object_is_a_conflict_and_changes_nothing() {
    for (uid, version) in [(None, Some("1")), (Some("another"), None)] {
        let world = World::new();
        world
            .create(Resource::ReplicaSet, &replica_set("checkout-a", 1))
            .await;
        let context = world.context(move |snapshot, _| {
            let seen = snapshot.replica_sets.get("checkout-a").unwrap();
            let mut precondition = precondition(seen);
            precondition.uid = uid.map_or(precondition.uid, str::to_owned);
            precondition.resource_version = version.map_or(precondition.resource_version, str::to_owned);
            let patch = Action::Patch {
                precondition,
                subresource: None,
                ops: vec![PatchOp::replace("/spec/replicas", 5)],
            };
            plan(
                vec![vec![write(Kind::ReplicaSet, "checkout-a", patch)]],
                "never written",
            )
        });
        world.catch_up(&context).await;
        assert_eq!(reconcile_rollout(&context, &world.key).await, Ok(Next::Soon));
        assert_eq!(world.writes(), Vec::<String>::new(), "{uid:?} {version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_into_before_anything_else_is_decided() {
    let world = World::new();
    world
        .create(Resource::ReplicaSet, &replica_set("checkout-a", 1))
        .await;
    let context = world.context(|snapshot, _| {
        let seen = snapshot.replica_sets.get("checkout-a").unwrap();
        let patch = Action::Patch {
            precondition: precondition(seen),
            subresource: None,
            ops: vec![PatchOp::replace("/spec/replicas", 5)],
        };
        let stages = (seen.replicas != 5).then(|| vec![write(Kind::ReplicaSet, "checkout-a", patch)]);
        plan(stages.into_iter().collect(), "done")
    });
    world.catch_up(&context).await;
    world.fail_next_write(Fault::ApplyThenLose);
    let lost = reconcile_rollout(&context, &world.key).await;
    let Err(ReconcileError::Apply(error)) = lost else {
        panic!("{lost:?}")
    };
    assert!(matches!(error.source, Failure::Unknown(_)), "{error:?}");
    // The cache still shows one replica; acting on it would repeat the write.
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(
        world.writes(),
        ["patch ReplicaSet checkout-a", "patch Rollout checkout/status"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_there_already_is_read_and_never_an_error() {
    let world = World::new();
    let context = world.context(|snapshot, _| {
        let create = Action::Create {
            object: replica_set("checkout-a", 0),
        };
        let missing = !snapshot.replica_sets.contains_key("checkout-a");
        let stages = missing.then(|| vec![write(Kind::ReplicaSet, "checkout-a", create)]);
        plan(stages.into_iter().collect(), "found")
    });
    world.catch_up(&context).await;
    world
        .create(Resource::ReplicaSet, &replica_set("checkout-a", 3))
        .await;
    assert_eq!(reconcile_rollout(&context, &world.key).await, Ok(Next::Soon));
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
    assert_eq!(
        world.object("ReplicaSet", "checkout-a").pointer("/spec/replicas"),
        Some(&json!(3))
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_stops_the_plan_and_is_told_once_with_the_servers_words() {
    let world = World::new();
    let context = world.context(|_, _| {
        let create = |name: &str| {
            let object = replica_set(name, 0);
            vec![write(Kind::ReplicaSet, name, Action::Create { object })]
        };
        plan(vec![create("checkout-a"), create("checkout-b")], "never written")
    });
    world.catch_up(&context).await;
    for round in 0..3 {
        world.fail_next_write(Fault::Refuse {
            status: 403,
            reason: "Forbidden".to_owned(),
            message: "exceeded quota: pods".to_owned(),
        });
        let next = reconcile_rollout(&context, &world.key).await;
        assert!(matches!(next, Ok(Next::At(_))), "{round}: {next:?}");
    }
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
    let status = world.object("Rollout", "checkout");
    assert_eq!(
        status.pointer("/status/message"),
        Some(&json!(
            "cannot create ReplicaSet shop/checkout-a: refused with 403: exceeded quota: pods"
        ))
    );
    assert_eq!(status.pointer("/status/phase"), Some(&json!("Degraded")));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_not_absence() {
    let world = World::new();
    let context = world.context(|_, _| panic!("nothing may be decided"));
    world.fail_reads(Fault::Refuse {
        status: 500,
        reason: "InternalError".to_owned(),
        message: "etcd".to_owned(),
    });
    let result = reconcile_rollout(&context, &world.key).await;
    assert!(matches!(result, Err(ReconcileError::Observe(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_lost_heals() {
    let world = World::new();
    world
        .create(Resource::ReplicaSet, &replica_set("checkout-a", 1))
        .await;
    let context = world.context(|snapshot, _| {
        let replicas = snapshot.replica_sets.get("checkout-a").map(|seen| seen.replicas);
        plan(vec![], &format!("{replicas:?}"))
    });
    world.catch_up(&context).await;
    let message = || {
        world
            .object("Rollout", "checkout")
            .pointer("/status/message")
            .cloned()
    };
    let Ok(Next::At(heal)) = reconcile_rollout(&context, &world.key).await else {
        panic!("no heal")
    };
    assert!(heal <= world.now() + chrono::TimeDelta::seconds(60));
    world.scale("checkout-a", 4).await;
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(message(), Some(json!("Some(1)")), "nobody told us");
    world.set_clock(heal);
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(message(), Some(json!("Some(4)")));
}

/// Lets the controller work until this holds; the sandbox is in the process, so it takes moments.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

fn message_of(world: &World, name: &str) -> Option<String> {
    let message = world.object("Rollout", name).pointer("/status/message").cloned();
    message.and_then(|message| message.as_str().map(str::to_owned))
}

/// Says in the status which image it saw.
fn echo(snapshot: &Snapshot) -> Plan {
    let image = snapshot.rollout.pointer("/spec/template/spec/containers/0/image");
    plan(vec![], image.and_then(Value::as_str).unwrap_or("none"))
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

#[tokio::test]
async fn a_running_controller_follows_changes_and_rests_between_them() {
    let world = World::at(Clock::System);
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    until(|| message_of(&world, "checkout").as_deref() == Some("web:1")).await;
    world.edit(&image("web:2"));
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    assert_eq!(world.writes().len(), 2, "{:?}", world.writes());
    controller.stop().await;
    world.edit(&image("web:3"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        message_of(&world, "checkout").as_deref(),
        Some("web:2"),
        "it has stopped"
    );
}

#[tokio::test]
async fn a_panic_stops_one_key_until_its_object_changes() {
    let world = World::at(Clock::System);
    world.post(Resource::Rollout, &world::rollout("bad"));
    let planner = |snapshot: &Snapshot, _| {
        let name = snapshot.rollout.pointer("/metadata/name").and_then(Value::as_str);
        let planned = echo(snapshot);
        assert!(
            name != Some("bad") || planned.status.message.as_deref() != Some("web:1"),
            "on purpose"
        );
        planned
    };
    let controller = start(world.context(planner), Settings::default());
    let panics = "tidegate_reconciles_total{kind=\"Rollout\",result=\"panic\"} 1\n";
    let metrics = Arc::clone(&controller.context.metrics);
    until(|| message_of(&world, "checkout").is_some() && metrics.encode().contains(panics)).await;
    until(|| {
        metrics
            .encode()
            .contains("tidegate_quarantined{queue=\"rollouts\"} 1\n")
    })
    .await;
    world.edit(&image("web:2"));
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    assert_eq!(message_of(&world, "bad"), None);
    assert!(metrics.encode().contains(panics), "tried once");
    world.edit_named("bad", &image("web:2"));
    until(|| message_of(&world, "bad").as_deref() == Some("web:2")).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_status_of_a_newer_controller_is_not_taken_for_none() {
    let world = World::at(Clock::System);
    world.forget_schema("rollouts");
    let newer = json!({"phase": "Unheard", "abort": true, "stableRS": "a"});
    world.put_status(&newer);
    world.post(Resource::Rollout, &world::rollout("other"));
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    until(|| message_of(&world, "other").as_deref() == Some("web:1")).await;
    let metrics = controller.context.metrics.encode();
    assert!(
        metrics.contains("tidegate_api_errors_total{category=\"undecodable\"}"),
        "{metrics}"
    );
    assert_eq!(world.object("Rollout", "checkout")["status"], newer);
    controller.stop().await;
}

#[tokio::test]
async fn an_api_server_that_comes_late_needs_no_restart() {
    let world = World::at(Clock::System);
    let away = || Fault::Refuse {
        status: 503,
        reason: "ServiceUnavailable".to_owned(),
        message: "away".to_owned(),
    };
    world.fail_reads(away());
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!*controller.readiness().borrow());
    world.fail_reads(Fault::None);
    until(|| message_of(&world, "checkout").as_deref() == Some("web:1")).await;
    assert!(*controller.readiness().borrow());
    controller.stop().await;
}

#[tokio::test]
async fn a_run_is_measured_to_its_verdict_and_then_left_alone() {
    let world = World::at(Clock::System);
    world.post(Resource::AnalysisRun, &world::run("errors", "vector(0)"));
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    let phase = || {
        world
            .object("AnalysisRun", "errors")
            .pointer("/status/phase")
            .cloned()
    };
    until(|| phase() == Some(json!("Successful"))).await;
    let writes = world.writes().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.writes().len(), writes);
    let verdict = "tidegate_verdicts_total{verdict=\"Successful\"} 1\n";
    assert!(controller.context.metrics.encode().contains(verdict));
    controller.stop().await;
}

#[tokio::test]
async fn the_planner_leads_a_first_version_to_health_and_then_writes_nothing() {
    let world = World::at(Clock::System);
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    until(|| world.list("ReplicaSet").len() == 1).await;
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
    tokio::time::sleep(Duration::from_millis(500)).await;
    let writes = world.writes();
    world.server.compact();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.writes(), writes, "a cluster at rest is not written to");
    controller.stop().await;
}

#[tokio::test]
async fn runs_whose_provider_hangs_do_not_hold_up_the_others() {
    let world = World::at(Clock::System);
    for number in 0..60 {
        world.post(
            Resource::AnalysisRun,
            &world::run(&format!("hanging-{number}"), world::HANGS),
        );
    }
    world.post(Resource::AnalysisRun, &world::run("sound", "vector(0)"));
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    let phase = |name: &str| {
        world
            .object("AnalysisRun", name)
            .pointer("/status/phase")
            .cloned()
    };
    until(|| phase("sound") == Some(json!("Successful"))).await;
    until(|| message_of(&world, "checkout").as_deref() == Some("web:1")).await;
    assert_ne!(phase("hanging-0"), Some(json!("Successful")));
    drop(controller);
}

#[tokio::test(start_paused = true)]
async fn plans_are_counted_by_what_became_of_them() {
    let world = World::new();
    for (rule, writes, outcome) in [
        ("Waiting", false, "empty"),
        ("Acting", true, "writes"),
        ("Refused", false, "refused"),
    ] {
        let context = world.context(move |_, _| {
            let create = Action::Create {
                object: replica_set("checkout-a", 0),
            };
            let stages = writes.then(|| vec![write(Kind::ReplicaSet, "checkout-a", create)]);
            let mut planned = plan(stages.into_iter().collect(), rule);
            planned.rule = rule.to_owned();
            planned
        });
        world.catch_up(&context).await;
        reconcile_rollout(&context, &world.key).await.unwrap();
        let metrics = context.metrics.encode();
        let counted: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("tidegate_plans_total"))
            .collect();
        assert_eq!(
            counted,
            [format!("tidegate_plans_total{{outcome=\"{outcome}\"}} 1")]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever_for_a_write_in_flight() {
    let world = World::new();
    world.fail_next_write(Fault::Hang);
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    until(|| !world.has_fault_left()).await;
    let told = tokio::time::Instant::now();
    controller.stop().await;
    let took = told.elapsed();
    assert!(took > Duration::from_secs(1), "{took:?}: it was waited for");
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(world.writes(), Vec::<String>::new());
}
