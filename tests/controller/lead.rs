//! What a controller does when it loses the lead, and when it has it again.

use std::time::Duration;

use serde_json::json;
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::controllers::lease::campaign::LeaseSettings;
use tidegate::controllers::lease::election::Timing;
use tidegate::controllers::run::{Handle, Settings, start};
use tidegate::sandbox::api_server::Fault;

use crate::world::{World, rollout};
use crate::{echo, message_of, until};

fn elected(world: &World) -> Handle {
    let lease = LeaseSettings {
        lease: ObjectKey::new("shop", "lead"),
        identity: "me".to_owned(),
        timing: Timing {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        },
    };
    let settings = Settings {
        lease: Some(lease),
        namespaces: ["shop".to_owned(), "bank".to_owned()].into(),
        ..Settings::default()
    };
    start(world.context(|snapshot, _| echo(snapshot)), settings)
}

/// One that has been seen to decide.
async fn leading(world: &World) -> Handle {
    let controller = elected(world);
    until(|| message_of(world, "checkout").as_deref() == Some("web:1")).await;
    controller
}

fn leads_no_more(controller: &Handle) -> bool {
    controller
        .context
        .metrics
        .encode()
        .contains("tidegate_leader 0\n")
}

fn leads(controller: &Handle, epoch: u64) -> bool {
    let metrics = controller.context.metrics.encode();
    metrics.contains("tidegate_leader 1\n") && metrics.contains(&format!("tidegate_leader_epoch {epoch}\n"))
}

fn image(image: &str) -> serde_json::Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

#[tokio::test(start_paused = true)]
async fn a_leader_out_of_touch_writes_nothing_and_goes_on_when_it_leads_again() {
    let world = World::new();
    let controller = leading(&world).await;
    assert!(leads(&controller, 1));
    world.fail_leases(Fault::LoseBefore);
    until(|| leads_no_more(&controller)).await;
    let writes = world.writes();
    world.edit(&image("web:2"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.writes(), writes);
    assert!(*controller.readiness().borrow());
    world.fail_leases(Fault::None);
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    assert!(leads(&controller, 2));
    assert_eq!(world.epochs(), [1, 2]);
    controller.stop().await;
    assert_eq!(world.object("Lease", "lead")["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_another_one_led_is_not_counted() {
    let world = World::new();
    let controller = leading(&world).await;
    world.fail_leases(Fault::LoseBefore);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let promoted = json!({
        "at": world.now(), "who": "controller", "what": "Promoted", "revision": 1, "why": "it was good",
    });
    world.put_status(&json!({"history": [promoted]}));
    world.edit(&image("web:2"));
    world.fail_leases(Fault::None);
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    let metrics = controller.context.metrics.encode();
    assert!(metrics.contains("tidegate_promotions_total 0\n"), "{metrics}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_costs_nothing() {
    let world = World::new();
    let controller = leading(&world).await;
    for _ in 0..10 {
        world.fail_leases(Fault::ApplyThenLose);
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.fail_leases(Fault::None);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(leads(&controller, 1));
    }
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_lead_is_given_back_after_a_renewal_whose_answer_is_lost() {
    let world = World::new();
    let controller = leading(&world).await;
    world.fail_leases(Fault::ApplyThenLose);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    world.fail_leases(Fault::None);
    controller.stop().await;
    assert_eq!(world.object("Lease", "lead")["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_is_deleted_stops_and_asks_for_a_new_one() {
    let world = World::new();
    let controller = leading(&world).await;
    world.delete("/apis/coordination.k8s.io/v1/namespaces/shop/leases/lead");
    until(|| leads_no_more(&controller)).await;
    let writes = world.writes();
    world.edit(&image("web:2"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.writes(), writes);
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    assert_eq!(world.epochs(), [1, 2]);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_ready_or_decides_before_the_lease_can_be_read() {
    let world = World::new();
    world.fail_leases(Fault::Refuse {
        status: 403,
        reason: "Forbidden".to_owned(),
        message: "leases are forbidden".to_owned(),
    });
    let controller = elected(&world);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!*controller.readiness().borrow());
    assert_eq!(world.writes(), Vec::<String>::new());
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_listed_holds_up_no_other() {
    let world = World::new();
    let mut other = rollout("account");
    other["metadata"]["namespace"] = json!("bank");
    world.post_in("bank", Resource::Rollout, &other);
    let controller = elected(&world);
    let account = || {
        let account = world
            .server
            .inspect(|store| store.get("Rollout", "bank", "account"));
        account.unwrap()["status"]["message"].clone()
    };
    until(|| account() == "web:1" && message_of(&world, "checkout").as_deref() == Some("web:1")).await;
    world.fail_leases(Fault::LoseBefore);
    world.close(Some("/namespaces/bank/replicasets"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.edit(&image("web:2"));
    world.edit_in("bank", "account", &image("web:2"));
    world.fail_leases(Fault::None);
    until(|| message_of(&world, "checkout").as_deref() == Some("web:2")).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(leads(&controller, 2));
    assert_eq!(account(), "web:1", "its pods are not known");
    let metrics = controller.context.metrics.encode();
    let unlisted = "tidegate_unlisted_namespaces{kind=\"ReplicaSet\"} 1\n";
    let age = "tidegate_queue_oldest_seconds{queue=\"rollouts\"} 12";
    assert!(metrics.contains(unlisted) && metrics.contains(age), "{metrics}");
    world.close(None);
    until(|| account() == "web:2").await;
    controller.stop().await;
}
