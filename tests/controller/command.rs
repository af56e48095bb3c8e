//! Commands for a Rollout that is not there are answered, once, and nothing else is touched.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tidegate::api::resource::Resource;
use tidegate::controllers::context::{Context, Next};
use tidegate::controllers::rollout::reconcile_rollout;
use tidegate::controllers::run::{Settings, start};
use tidegate::sandbox::api_server::Fault;

use crate::until;
use crate::world::World;

fn command(name: &str, rollout: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"rollout": rollout, "verb": "Abort"},
    })
}

/// Phase and message.
fn answer(world: &World, name: &str) -> (Option<Value>, Option<Value>) {
    let command = world.object("RolloutCommand", name);
    let field = |field: &str| command.pointer(&format!("/status/{field}")).cloned();
    (field("phase"), field("message"))
}

fn refused() -> (Option<Value>, Option<Value>) {
    let message = "there is no Rollout checkout in namespace shop";
    (Some(json!("Refused")), Some(json!(message)))
}

/// Without the Rollout, with one command for it, and a planner that nothing may ask.
async fn unaddressed() -> (World, Context) {
    let world = World::new();
    world.remove(Resource::Rollout, "checkout");
    world.post(Resource::RolloutCommand, &command("abort", "checkout"));
    let context = world.context(|_, _| panic!("nothing may be decided"));
    world.catch_up(&context).await;
    (world, context)
}

#[tokio::test(start_paused = true)]
async fn a_command_for_nobody_is_refused_once() {
    let (world, context) = unaddressed().await;
    // The cache sees the answer only after the second round.
    for _ in 0..2 {
        reconcile_rollout(&context, &world.key).await.unwrap();
    }
    world.catch_up(&context).await;
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(answer(&world, "abort"), refused());
    assert_eq!(world.writes(), ["patch RolloutCommand abort/status"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_for_nobody_goes_an_hour_after_its_answer() {
    let (world, context) = unaddressed().await;
    reconcile_rollout(&context, &world.key).await.unwrap();
    world.catch_up(&context).await;
    let goes = world.now() + TimeDelta::hours(1);
    assert_eq!(reconcile_rollout(&context, &world.key).await, Ok(Next::At(goes)));
    world.set_clock(goes);
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(
        world.writes(),
        ["patch RolloutCommand abort/status", "delete RolloutCommand abort"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_command_for_nobody_is_not_given_twice() {
    let (world, context) = unaddressed().await;
    world.fail_next_write(Fault::ApplyThenLose);
    assert!(reconcile_rollout(&context, &world.key).await.is_err());
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(answer(&world, "abort"), refused());
    assert_eq!(world.writes(), ["patch RolloutCommand abort/status"]);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_the_cache_has_not_seen_is_no_reason_to_refuse() {
    let world = World::new();
    world.post(Resource::RolloutCommand, &command("abort", "checkout"));
    let context = world.context(|snapshot, _| crate::echo(snapshot));
    world.catch_up(&context).await;
    world.forget(&context, Resource::Rollout);
    reconcile_rollout(&context, &world.key).await.unwrap();
    assert_eq!(answer(&world, "abort"), (None, None));
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_of_the_rollout_that_fails_is_no_reason_to_refuse() {
    let (world, context) = unaddressed().await;
    world.fail_reads(Fault::Refuse {
        status: 500,
        reason: "InternalError".to_owned(),
        message: "etcd".to_owned(),
    });
    assert!(reconcile_rollout(&context, &world.key).await.is_err());
    assert_eq!(answer(&world, "abort"), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_running_controller_answers_whom_nobody_can_hear() {
    let world = World::new();
    world.post(Resource::RolloutCommand, &command("early", "nobody"));
    let controller = start(
        world.context(|snapshot, _| crate::echo(snapshot)),
        Settings::default(),
    );
    let phase = |name: &str| answer(&world, name).0;
    until(|| phase("early") == Some(json!("Refused"))).await;
    world.post(Resource::RolloutCommand, &command("late", "nobody"));
    until(|| phase("late") == Some(json!("Refused"))).await;
    controller.stop().await;
    let answers = world.writes();
    let answers = answers.iter().filter(|write| write.contains("RolloutCommand"));
    assert_eq!(answers.count(), 2);
}
