//! One turn: what was decided is acted on at once, if it was decided on what was read a moment ago.

use chrono::TimeDelta;
use serde_json::json;
use tidegate::clock::Clock;
use tidegate::controllers::rollout::reconcile_rollout;
use tidegate::plan::model::{Action, Kind, Plan};

use super::world::{self, World, plan, write};

/// Takes a decision, for which `thinking` goes by, then makes a ReplicaSet.
async fn decide_and_act(thinking: TimeDelta) -> World {
    let clock = Clock::virtual_at("2026-01-01T00:00:00Z".parse().unwrap());
    let world = World::at(clock.clone());
    let context = world.context(move |snapshot, now| {
        let message = snapshot.rollout.pointer("/status/message");
        if message == Some(&json!("decided")) {
            let object = world::replica_set("checkout-a", 0);
            let made = write(Kind::ReplicaSet, "checkout-a", Action::Create { object });
            return plan(vec![vec![made]], "decided");
        }
        clock.set(now + thinking);
        Plan {
            requeue_at: Some(now),
            ..plan(vec![], "decided")
        }
    });
    world.catch_up(&context).await;
    reconcile_rollout(&context, &world.key).await.unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_a_moment_ago_is_acted_on() {
    let world = decide_and_act(TimeDelta::milliseconds(800)).await;
    assert_eq!(
        world.writes(),
        ["patch Rollout checkout/status", "create ReplicaSet checkout-a"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_on_old_news_waits_for_another_look() {
    let world = decide_and_act(TimeDelta::seconds(1)).await;
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
}
