//! Two controllers of one cluster: one leads, and the other takes over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::clock::Stopwatch;
use tidegate::sandbox::api_server::http::HttpServer;
use tidegate::sandbox::api_server::{ApiServer, Commit, Interceptor, Store};

use crate::{Process, end, get, run, signal, with_rollouts};

/// Short, so that nobody waits long, and quick enough for a busy machine.
const QUICK: [&str; 6] = [
    "--lease-duration=4s",
    "--renew-deadline=3s",
    "--retry-period=500ms",
    "--log-level=info",
    "--lease-namespace=shop",
    "--lease-name=lead",
];

/// The epochs of writes to anything but the Lease, as they were committed.
#[derive(Clone, Default)]
struct Epochs(Arc<Mutex<Vec<u64>>>);

impl Interceptor for Epochs {
    fn committed(&mut self, commit: &Commit, _: &Store) {
        let epoch = commit.actor.split("(epoch ").nth(1);
        let epoch = epoch.and_then(|rest| rest.strip_suffix(')')?.parse().ok());
        if let Some(epoch) = epoch.filter(|_| commit.kind != "Lease") {
            self.0.lock().unwrap().push(epoch);
        }
    }
}

impl Epochs {
    fn seen(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

async fn two_controllers(server: &ApiServer) -> [(Process, HttpServer); 2] {
    let leader = run(server, &QUICK).await;
    until(|| async { leads(&leader.0).await }).await;
    [leader, run(server, &QUICK).await]
}

async fn leads(process: &Process) -> bool {
    get(process.metrics, "/metrics")
        .await
        .contains("tidegate_leader 1\n")
}

async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    for _ in 0..1_500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain");
}

fn replica_sets(server: &ApiServer) -> usize {
    server.inspect(|store| store.list("ReplicaSet").len())
}

fn lease(server: &ApiServer) -> Value {
    let lease = server
        .inspect(|store| store.get("Lease", "shop", "lead"))
        .unwrap();
    lease.pointer("/spec").cloned().unwrap()
}

/// A second version, which makes a second ReplicaSet.
fn release(server: &ApiServer) {
    let image =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}]);
    let path = "/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/checkout";
    crate::send(server, "PATCH", path, "application/json-patch+json", &image);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_by_the_other_when_its_lease_has_run_out() {
    let server = with_rollouts(&["shop"]);
    let epochs = Epochs::default();
    server.set_interceptor(Some(Box::new(epochs.clone())));
    let [(mut leader, _http), (standby, _other_http)] = two_controllers(&server).await;
    until(|| async { replica_sets(&server) == 1 }).await;
    assert_eq!(lease(&server)["leaseTransitions"], 1);
    // It waits with warm caches, and is no reason for anybody to restart it.
    until(|| async { get(standby.metrics, "/readyz").await.starts_with("HTTP/1.1 200") }).await;
    assert!(!leads(&standby).await);
    leader.child.kill().await.unwrap();
    let killed = Stopwatch::start();
    release(&server);
    let before = epochs.seen();
    until(|| async { leads(&standby).await }).await;
    until(|| async { epochs.seen().len() > before.len() }).await;
    println!(
        "writes again {:.1} s after the kill, with a lease of 4 s",
        killed.elapsed().as_secs_f64()
    );
    let after = epochs.seen();
    assert!(before.iter().all(|epoch| *epoch == 1), "{before:?}");
    assert!(after[before.len()..].iter().all(|epoch| *epoch == 2), "{after:?}");
    assert_eq!(lease(&server)["leaseTransitions"], 2);
    signal(&standby, "-TERM").await;
    assert!(end(standby).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_before_its_lease_has_run_out() {
    let server = with_rollouts(&["shop"]);
    let epochs = Epochs::default();
    server.set_interceptor(Some(Box::new(epochs.clone())));
    let [(leader, _http), (standby, _other_http)] = two_controllers(&server).await;
    until(|| async { replica_sets(&server) == 1 }).await;
    let told = Stopwatch::start();
    signal(&leader, "-TERM").await;
    assert!(end(leader).await.success());
    // Nobody holds it, unless the other one has been quick.
    assert_ne!(lease(&server)["leaseTransitions"].as_u64(), None);
    let renewed = lease(&server)["holderIdentity"].clone();
    assert!(
        renewed == "" || lease(&server)["leaseTransitions"] == 2,
        "{renewed}"
    );
    until(|| async { leads(&standby).await }).await;
    println!(
        "leads {:.1} s after the other one was told to stop",
        told.elapsed().as_secs_f64()
    );
    release(&server);
    until(|| async { epochs.seen().contains(&2) }).await;
    assert!(epochs.seen().is_sorted(), "{:?}", epochs.seen());
    signal(&standby, "-TERM").await;
    assert!(end(standby).await.success());
    assert_eq!(lease(&server)["holderIdentity"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_for_longer_than_the_lease_needs_no_restart() {
    let server = with_rollouts(&["shop"]);
    let (process, http) = run(&server, &QUICK).await;
    until(|| async { replica_sets(&server) == 1 }).await;
    let address = http.address;
    drop(http);
    until(|| async { !leads(&process).await }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    release(&server);
    let _http = HttpServer::start(server.clone(), address).await.unwrap();
    until(|| async { replica_sets(&server) == 2 }).await;
    assert!(get(process.metrics, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(lease(&server)["leaseTransitions"], 2);
    signal(&process, "-TERM").await;
    assert!(end(process).await.success());
}
