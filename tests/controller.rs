//! Observe, apply and the wiring around them, against the sandbox's API server.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is a failure")]

#[path = "controller/world.rs"]
mod world;

use serde_json::json;
use tidegate::api::patch::PatchOp;
use tidegate::api::resource::Resource;
use tidegate::client::Failure;
use tidegate::controllers::context::Next;
use tidegate::controllers::rollout::{ReconcileError, reconcile_rollout};
use tidegate::plan::model::{Action, Kind};
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
        assert_eq!(
            next,
            Ok(Next::At(world.now() + chrono::TimeDelta::minutes(5))),
            "{round}"
        );
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
