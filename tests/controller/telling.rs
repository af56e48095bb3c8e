//! What people are told by Events, and what happens when they cannot be told.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::api::rollout_status::RolloutStatus;
use tidegate::clock::Clock;
use tidegate::controllers::recorder::Teller;
use tidegate::controllers::run::{Settings, start};
use tidegate::plan::event::Regarding;

use crate::steady::{post_routed, run_cluster};
use crate::until;
use crate::world::World;

fn reasons(world: &World) -> Vec<String> {
    let mut events = world.server.inspect(|store| store.list("Event"));
    events.sort_by_key(|event| event["eventTime"].as_str().unwrap().to_owned());
    let reason = |event: &Value| event["reason"].as_str().unwrap().to_owned();
    events.iter().map(|event| reason(event)).collect()
}

fn promoted(world: &World, revision: u64) -> bool {
    let rollout = world.object("Rollout", "checkout");
    let status = |field: &str| rollout.pointer(&format!("/status/{field}")).cloned();
    status("revision") == Some(json!(revision)) && status("phase") == Some(json!("Healthy"))
}

fn release(world: &World, image: &str) {
    world.edit(&json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}));
}

#[tokio::test]
async fn a_release_is_told_in_a_few_words_and_once() {
    let world = World::at(Clock::System);
    world.remove(Resource::Rollout, "checkout");
    post_routed(&world, "checkout");
    let _cluster = run_cluster(&world);
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    until(|| promoted(&world, 1)).await;
    let first = ["RevisionStarted", "Promoted"];
    until(|| reasons(&world) == first).await;
    release(&world, "web:2");
    until(|| promoted(&world, 2)).await;
    let second = ["RevisionStarted", "StepCompleted", "StepCompleted", "Promoted"];
    let all = [&first[..], &second[..]].concat();
    until(|| reasons(&world) == all).await;
    controller.stop().await;

    // The next one knows of nothing that was told, and tells what is new again, to no effect.
    let events = || world.server.inspect(|store| store.list("Event"));
    let before = events();
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    let told = |result: &str| format!("tidegate_events_total{{result=\"{result}\"}}");
    until(|| {
        controller
            .context
            .metrics
            .encode()
            .contains(&format!("{} 6\n", told("duplicate")))
    })
    .await;
    assert_eq!(events(), before);
    assert!(!controller.context.metrics.encode().contains(&told("ok")));
    controller.stop().await;

    // Their names tell no order.
    let steps = before.iter().filter(|event| event["reason"] == "StepCompleted");
    let event = steps.min_by_key(|event| event["eventTime"].as_str()).unwrap();
    let rollout = world.object("Rollout", "checkout");
    // The store keeps them in the form of the core group, as the API server does.
    assert_eq!(event["involvedObject"]["uid"], rollout["metadata"]["uid"]);
    assert_eq!(event["involvedObject"]["kind"], "Rollout");
    assert_eq!(
        event["message"],
        "revision 2: step 1 of 2 is done; canary weight 10, verified"
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_no_events_holds_up_no_other() {
    let world = World::new();
    world.lose_events_in("shop");
    let context = world.context(tidegate::plan::plan);
    let started = json!({
        "at": world.now(), "who": "controller", "what": "RevisionStarted", "revision": 1, "why": "it is new",
    });
    let status: RolloutStatus = serde_json::from_value(json!({"history": [started]})).unwrap();
    for namespace in ["shop", "bank"] {
        let rollout = Regarding {
            key: ObjectKey::new(namespace, "checkout"),
            uid: format!("{namespace}-uid"),
        };
        let (recorder, metrics) = (&context.recorder, &context.metrics);
        recorder.look(&rollout, &status, world.now(), metrics);
    }
    let teller = Teller {
        api: &context.observer.api,
        clock: &context.clock,
        metrics: &context.metrics,
        instance: "me",
    };
    let flushed = tokio::time::timeout(Duration::from_secs(1), context.recorder.flush(&teller)).await;
    assert!(flushed.is_err(), "one is still to be told");
    assert_eq!(reasons(&world), ["RevisionStarted"]);
}

#[tokio::test]
async fn events_that_cannot_be_written_hold_up_nothing() {
    let world = World::at(Clock::System);
    world.remove(Resource::Rollout, "checkout");
    world.refuse_events();
    post_routed(&world, "checkout");
    let _cluster = run_cluster(&world);
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    until(|| promoted(&world, 1)).await;
    release(&world, "web:2");
    until(|| promoted(&world, 2)).await;
    let told = |result: &str| format!("tidegate_events_total{{result=\"{result}\"}} 6\n");
    until(|| controller.context.metrics.encode().contains(&told("refused"))).await;
    tokio::time::timeout(Duration::from_secs(60), controller.stop())
        .await
        .unwrap();
    assert_eq!(reasons(&world), Vec::<String>::new());
}
