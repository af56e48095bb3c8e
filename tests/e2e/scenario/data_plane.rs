//! `trafficRouting.dataPlane`: somebody is asked what becomes of a weight. One that Traefik follows passes; one that it
//! ignores, or that nobody can tell about, never does, until the cause is removed.

use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tidegate::api::rollout_status::{RolloutStatus, WaitingReason};
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::{canary_weight, is_back, is_promoted};

use super::{open_changed, open_pausing, open_pausing_behind};
use crate::apply::apply;
use crate::control_plane::SERVER;
use crate::relay::Relay;
use crate::tenant::Tenant;
use crate::traefik::{Dialect, Traefik};
use crate::world::{Throttle, World};

/// A window of the measured share, and the time after a change until it is all of the new weight.
const WINDOW: &str = "10s";
const FOREIGN: &str = "somebody-elses-canary";
const OURS: &str = "checkout-checkout-canary";

/// The example, every weight of which Traefik itself confirms.
pub async fn promote(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let url = world.traefik(dialect, throttle).url();
    let shop = open_changed(world, name, dialect, throttle, |spec| ask_traefik(spec, &url)).await;
    shop.release("v2").await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// An older canary Ingress on the same path makes Traefik ignore ours, and its own API says so.
pub async fn ignored_by_api(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let url = world.traefik(dialect, throttle).url();
    let shop = open_pausing(world, name, dialect, throttle, |spec| ask_traefik(spec, &url)).await;
    ignored(shop, "weight 50 of 100; it gives 0 of 100 at router").await
}

/// The same by the requests that customers sent.
pub async fn ignored_by_share(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_pausing(world, name, dialect, throttle, |spec| ask_prometheus(spec, name)).await;
    ignored(shop, "weight 50 of 100; it gives 0 % of the requests").await
}

async fn ignored(shop: Tenant<'_>, says: &str) -> Tally {
    put_in_front_of_ours(&shop).await;
    shop.release("v2").await;
    shop.until("the data plane is seen to ignore the weight", |status| {
        waits_for_data_plane(status, says)
    })
    .await;
    // Longer than anything else takes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = shop.shop.status().await.unwrap();
    assert_eq!(status.current_step_index.unwrap().0, 0, "{status:?}");
    assert!(!status.canary.weights.unwrap().verified);
    assert!(!shop.tally().versions.contains_key("v2"));
    ingresses(&shop)
        .delete(FOREIGN, &DeleteParams::default())
        .await
        .unwrap();
    shop.until_paused_at(50).await;
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// Who is asked stops answering: nothing goes forward until it is back.
pub async fn frozen(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let admin = world.control_plane.admin();
    let witness = world.start_traefik(&admin, dialect, throttle, 10).await;
    let url = witness.url();
    let shop = open_pausing(world, name, dialect, throttle, |spec| {
        ask_traefik(spec, &url);
        go_on_to_80(spec);
    })
    .await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    witness.freeze(true).await;
    shop.type_command(&["promote", "checkout"]).await;
    let says = "weight 80 of 100; nothing is known: ";
    shop.until("nobody can be asked", |status| waits_for_data_plane(status, says))
        .await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let status = shop.shop.status().await.unwrap();
    assert_eq!(
        (status.current_step_index.unwrap().0, canary_weight(&status)),
        (2, 80)
    );
    witness.freeze(false).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// The ingress controller is stopped, while its proxy goes on with what it knows: the next weight does not pass.
pub async fn cut_off_by_api(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let (traefik, relay) = start_behind_relay(world, dialect, throttle, 12).await;
    let url = traefik.url();
    let shop = open_pausing_behind(&traefik, world, name, throttle, |spec| {
        ask_traefik(spec, &url);
        go_on_to_80(spec);
    })
    .await;
    cut_off(shop, &relay, "weight 80 of 100; it gives 50 of 100").await
}

/// The same by the requests that customers sent.
pub async fn cut_off_by_share(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let (traefik, relay) = start_behind_relay(world, dialect, throttle, 13).await;
    let shop = open_pausing_behind(&traefik, world, name, throttle, |spec| {
        ask_prometheus(spec, name);
        go_on_to_80(spec);
    })
    .await;
    cut_off(shop, &relay, "weight 80 of 100; it gives").await
}

async fn cut_off(shop: Tenant<'_>, relay: &Relay, says: &str) -> Tally {
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    relay.cut(true);
    shop.type_command(&["promote", "checkout"]).await;
    let status = until_seen_to_stay(&shop, says).await;
    assert_eq!(status.current_step_index.unwrap().0, 2, "{status:?}");
    assert!(!status.canary.weights.unwrap().verified);
    relay.cut(false);
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// An abort while the proxy still gives the canary its share: its pods stay until it does not.
pub async fn cut_off_abort(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let (traefik, relay) = start_behind_relay(world, dialect, throttle, 14).await;
    let url = traefik.url();
    let shop = open_pausing_behind(&traefik, world, name, throttle, |spec| {
        ask_traefik(spec, &url);
        spec["strategy"]["canary"]["abortScaleDownDelaySeconds"] = 1.into();
    })
    .await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    relay.cut(true);
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    let status = until_seen_to_stay(&shop, "weight 0 of 100; it gives 50 of 100").await;
    assert!(status.updated_replicas > 0 && !is_back(&status), "{status:?}");
    relay.cut(false);
    shop.until("v1 has everything again", is_back).await;
    shop.until_all_answered_by("v1").await;
    shop.until("the pods of v2 are gone", |status| status.replicas == 4)
        .await;
    shop.close().await
}

/// A Traefik that can be cut off from the API server.
async fn start_behind_relay(
    world: &World,
    dialect: Dialect,
    throttle: Throttle,
    number: u8,
) -> (Traefik, Relay) {
    let relay = Relay::start(SERVER).await;
    let kubeconfig = world.control_plane.admin_by(relay.address);
    let traefik = world.start_traefik(&kubeconfig, dialect, throttle, number).await;
    (traefik, relay)
}

/// Waits until the data plane is seen not to follow, and looks ten seconds later: v2 is given half all the while.
async fn until_seen_to_stay(shop: &Tenant<'_>, says: &str) -> RolloutStatus {
    shop.until("the data plane is seen not to follow", |status| {
        waits_for_data_plane(status, says)
    })
    .await;
    let before = shop.tally();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let share = share_of("v2", &before, &shop.tally());
    assert!((0.4..0.6).contains(&share), "v2 is given {share}");
    shop.shop.status().await.unwrap()
}

/// Of the answers between two moments.
fn share_of(version: &str, before: &Tally, after: &Tally) -> f64 {
    let count = |tally: &Tally| tally.versions.get(version).map_or(0, |found| found.requests);
    let all = |tally: &Tally| tally.ok + tally.errors;
    (count(after) - count(before)) as f64 / (all(after) - all(before)) as f64
}

fn go_on_to_80(spec: &mut Value) {
    let steps = spec["strategy"]["canary"]["steps"].as_array_mut().unwrap();
    steps.push(json!({"setWeight": 80}));
}

/// Somebody keeps giving our canary Ingress another pathType than the stable one has, by which Traefik ignores it.
pub async fn path_type(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_pausing(world, name, dialect, throttle, go_on_to_80).await;
    let path_type = "/spec/rules/0/http/paths/0/pathType";
    let change = json!([{"op": "replace", "path": path_type, "value": "Exact"}]);
    let change = Patch::<()>::Json(serde_json::from_value(change).unwrap());
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    shop.type_command(&["promote", "checkout"]).await;
    for _ in 0..50 {
        let ingresses = ingresses(&shop);
        let patched = ingresses.patch(OURS, &PatchParams::default(), &change).await;
        patched.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = shop.shop.status().await.unwrap();
        assert_eq!(status.current_step_index.unwrap().0, 2, "{status:?}");
    }
    let waiting = shop.shop.status().await.unwrap().waiting_on.unwrap();
    assert_eq!(waiting.reason, WaitingReason::RouteContended);
    assert!(waiting.message.contains(OURS), "{}", waiting.message);
    // It is left alone, and Traefik ignores it.
    shop.until_all_answered_by("v1").await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// An abort asks nobody: customers are back at once, and pods go a while later.
pub async fn abort_frozen(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let admin = world.control_plane.admin();
    let witness = world.start_traefik(&admin, dialect, throttle, 11).await;
    let url = witness.url();
    let shop = open_pausing(world, name, dialect, throttle, |spec| ask_traefik(spec, &url)).await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    witness.freeze(true).await;
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    shop.until_all_answered_by("v1").await;
    let says = "weight 0 of 100; nothing is known: ";
    let status = shop
        .until("nobody can be asked", |status| waits_for_data_plane(status, says))
        .await;
    assert!(status.abort && !is_back(&status), "{status:?}");
    shop.until("it does without an answer", is_back).await;
    shop.until("the pods of v2 are gone", |status| status.replicas == 4)
        .await;
    shop.close().await
}

fn waits_for_data_plane(status: &RolloutStatus, says: &str) -> bool {
    let waiting = status.waiting_on.as_ref();
    waiting
        .is_some_and(|waiting| waiting.reason == WaitingReason::DataPlane && waiting.message.contains(says))
}

fn ask_traefik(spec: &mut Value, url: &str) {
    spec["strategy"]["canary"]["trafficRouting"]["dataPlane"] = json!({"traefik": {"url": url}});
}

/// Of the requests to the shop's Service those that its canary was given, by Traefik's counters.
fn ask_prometheus(spec: &mut Value, namespace: &str) {
    let sum = |services: &str| {
        format!(
            "sum(increase(traefik_service_requests_total{{service=~\"{namespace}-{services}@.+\"}}[{WINDOW}]))"
        )
    };
    let all = sum("checkout-checkout-stable-.+");
    spec["strategy"]["canary"]["trafficRouting"]["dataPlane"] = json!({"prometheus": {
        "query": format!("({} or vector(0)) / {all}", sum("checkout-checkout-stable-.+-canary")),
        "requests": all,
    }});
}

/// Of two canary Ingresses on one path the older one counts. Both lead to the same Service, so the only difference is
/// the weight: that of the other one is 0.
async fn put_in_front_of_ours(shop: &Tenant<'_>) {
    let api = ingresses(shop);
    let mut foreign = api.get(OURS).await.unwrap();
    foreign.metadata = Default::default();
    let mut foreign = serde_json::to_value(foreign).unwrap();
    foreign["apiVersion"] = "networking.k8s.io/v1".into();
    foreign["kind"] = "Ingress".into();
    foreign["metadata"] = json!({
        "name": FOREIGN, "namespace": shop.namespace,
        "annotations": {
            "nginx.ingress.kubernetes.io/canary": "true",
            "nginx.ingress.kubernetes.io/canary-weight": "0",
        },
    });
    foreign.as_object_mut().unwrap().remove("status");
    apply(&shop.world.client, foreign).await;
    // Ages are told apart by the second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let uid = api.get(OURS).await.unwrap().metadata.uid;
    api.delete(OURS, &DeleteParams::default()).await.unwrap();
    let is_back = |found: Option<Ingress>| found.is_some_and(|ingress| ingress.metadata.uid != uid);
    for _ in 0..100 {
        if is_back(api.get_opt(OURS).await.unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{}: our canary Ingress does not come back", shop.namespace);
}

fn ingresses(shop: &Tenant<'_>) -> Api<Ingress> {
    Api::namespaced(shop.world.client.clone(), &shop.namespace)
}
