//! The sandbox's controllers and nodes as steps over the API server in virtual time: nothing here sleeps.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::ApiServer;
use tidegate::sandbox::controllers::{sync_dependent, sync_endpoint_slice, sync_replica_set};
use tidegate::sandbox::pods::app::Settings;
use tidegate::sandbox::pods::{Addresses, NoSockets, Nodes, PodRuntime, cannot_start};
use tidegate::sandbox::resource::{self, Key, list, text};
use tidegate::sandbox::rng::Rng;

/// A cluster whose time stands still until a test moves it.
struct Cluster {
    client: kube::Client,
    clock: Clock,
    rng: Rng,
    nodes: Nodes<NoSockets>,
}

impl Cluster {
    fn new() -> Self {
        let clock = Clock::virtual_at(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let client = ApiServer::new(7, clock.clone()).client("test");
        let nodes = Nodes::new(client.clone(), Addresses::loopback(), NoSockets);
        Cluster {
            client,
            clock,
            rng: Rng::new(7),
            nodes,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.now() + TimeDelta::seconds(seconds));
    }

    async fn create(&self, resource: &ApiResource, name: &str, labels: Value, spec: Value) {
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        key(name)
            .api(&self.client, resource)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    async fn get(&self, resource: &ApiResource, name: &str) -> Option<DynamicObject> {
        key(name).api(&self.client, resource).get_opt(name).await.unwrap()
    }

    async fn pods(&self) -> Vec<DynamicObject> {
        key("")
            .api(&self.client, &resource::pods())
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    async fn scale(&self, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let api = key(name).api(&self.client, &resource::replica_sets());
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn delete(&self, resource: &ApiResource, name: &str) {
        key(name)
            .api(&self.client, resource)
            .delete(name, &DeleteParams::background())
            .await
            .unwrap();
    }

    async fn sync_replica_set(&mut self, name: &str) -> Option<TimeDelta> {
        let now = self.now();
        sync_replica_set(&self.client, &key(name), now, &mut self.rng)
            .await
            .unwrap()
    }

    /// One look of the nodes at every pod; when the next one is due, if any.
    async fn sync_pods(&mut self) -> Option<TimeDelta> {
        let now = self.now();
        let mut due = Vec::new();
        for pod in self.pods().await {
            due.extend(
                self.nodes
                    .sync_pod(&Key::of(&pod), Some(&pod), now)
                    .await
                    .unwrap(),
            );
        }
        due.into_iter().min()
    }
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

/// `extra` goes into the container.
fn replica_set(replicas: u32, extra: Value) -> Value {
    let mut container = json!({
        "name": "app", "image": "shop:v1", "ports": [{"containerPort": 8080}],
        "env": [{"name": "START_SECONDS", "value": "2"}],
    });
    container
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    json!({
        "replicas": replicas,
        "minReadySeconds": 3,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {"metadata": {"labels": {"app": "shop", "hash": "1"}}, "spec": {"containers": [container]}},
    })
}

fn counts(replica_set: &DynamicObject) -> [i64; 3] {
    ["replicas", "readyReplicas", "availableReplicas"].map(|name| {
        replica_set
            .data
            .pointer(&format!("/status/{name}"))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    })
}

/// A machine that lacks every address until somebody gives it some.
#[derive(Clone, Default)]
struct Lacking {
    mended: Arc<AtomicBool>,
}

impl PodRuntime for Lacking {
    fn start(&mut self, _: &Key, _: &Settings, _: SocketAddr) -> io::Result<()> {
        match self.mended.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    fn stop(&mut self, _: &Key) {}
}

#[tokio::test]
async fn a_pod_that_cannot_start_says_why_and_uses_up_no_address() {
    let cluster = Cluster::new();
    let machine = Lacking::default();
    let mut nodes = Nodes::new(cluster.client.clone(), Addresses::loopback(), machine.clone());
    let env = json!([{"name": "START_SECONDS", "value": "0"}]);
    let container =
        json!({"name": "app", "image": "shop:v1", "ports": [{"containerPort": 8080}], "env": env});
    let spec = json!({"containers": [container]});
    cluster.create(&resource::pods(), "shop", json!({}), spec).await;
    for _ in 0..3 {
        let pod = cluster.get(&resource::pods(), "shop").await.unwrap();
        nodes
            .sync_pod(&key("shop"), Some(&pod), cluster.now())
            .await
            .unwrap_err();
        let pod = cluster.get(&resource::pods(), "shop").await.unwrap();
        let why = cannot_start(&pod).unwrap();
        assert!(why.contains("sudo ifconfig lo0 alias 127.1.0.1:"), "{why}");
        assert_eq!(text(&pod.data, "/status/phase"), Some("Pending"));
    }
    machine.mended.store(true, Ordering::SeqCst);
    let pod = cluster.get(&resource::pods(), "shop").await.unwrap();
    nodes
        .sync_pod(&key("shop"), Some(&pod), cluster.now())
        .await
        .unwrap();
    let pod = cluster.get(&resource::pods(), "shop").await.unwrap();
    assert_eq!(cannot_start(&pod), None);
    assert_eq!(text(&pod.data, "/status/podIP"), Some("127.1.0.1"));
}

#[tokio::test]
async fn a_replica_set_becomes_available_and_goes_down_again() {
    let mut cluster = Cluster::new();
    let kind = resource::replica_sets();
    cluster
        .create(&kind, "shop", json!({}), replica_set(2, json!({})))
        .await;
    cluster.sync_replica_set("shop").await;
    cluster.sync_replica_set("shop").await;
    let pods = cluster.pods().await;
    assert_eq!(pods.len(), 2);
    assert!(
        pods.iter()
            .all(|pod| pod.metadata.labels.as_ref().unwrap()["hash"] == "1")
    );
    assert_eq!(counts(&cluster.get(&kind, "shop").await.unwrap()), [2, 0, 0]);

    assert_eq!(cluster.sync_pods().await, Some(TimeDelta::seconds(2)));
    cluster.pass(2);
    assert_eq!(cluster.sync_pods().await, None);
    assert_eq!(
        cluster.sync_replica_set("shop").await,
        Some(TimeDelta::seconds(3))
    );
    assert_eq!(counts(&cluster.get(&kind, "shop").await.unwrap()), [2, 2, 0]);
    cluster.pass(3);
    assert_eq!(cluster.sync_replica_set("shop").await, None);
    assert_eq!(counts(&cluster.get(&kind, "shop").await.unwrap()), [2, 2, 2]);

    cluster.scale("shop", 0).await;
    cluster.sync_replica_set("shop").await;
    assert!(
        cluster
            .pods()
            .await
            .iter()
            .all(|pod| pod.metadata.deletion_timestamp.is_some())
    );
    cluster.sync_pods().await;
    assert_eq!(cluster.pods().await.len(), 0);
    cluster.sync_replica_set("shop").await;
    assert_eq!(counts(&cluster.get(&kind, "shop").await.unwrap()), [0, 0, 0]);
}

#[tokio::test]
async fn a_synced_cluster_is_not_written_to() {
    let mut cluster = Cluster::new();
    cluster
        .create(
            &resource::replica_sets(),
            "shop",
            json!({}),
            replica_set(1, json!({})),
        )
        .await;
    cluster
        .create(&resource::services(), "shop", json!({}), service())
        .await;
    for _ in 0..3 {
        cluster.sync_replica_set("shop").await;
        cluster.sync_pods().await;
        sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
        cluster.pass(5);
    }
    let versions = async |cluster: &Cluster| {
        let mut versions = vec![
            cluster
                .get(&resource::replica_sets(), "shop")
                .await
                .unwrap()
                .metadata
                .resource_version,
        ];
        versions.extend(
            cluster
                .pods()
                .await
                .into_iter()
                .map(|pod| pod.metadata.resource_version),
        );
        versions.push(slice(cluster).await.metadata.resource_version);
        versions
    };
    let before = versions(&cluster).await;
    cluster.sync_replica_set("shop").await;
    cluster.sync_pods().await;
    sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
    assert_eq!(versions(&cluster).await, before);
}

fn service() -> Value {
    json!({"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]})
}

async fn slice(cluster: &Cluster) -> DynamicObject {
    cluster
        .get(&resource::endpoint_slices(), "shop-endpoints")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_slice_follows_its_pods_from_starting_to_terminating() {
    let mut cluster = Cluster::new();
    let draining = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 10}}}});
    cluster
        .create(&resource::services(), "shop", json!({}), service())
        .await;
    cluster
        .create(
            &resource::replica_sets(),
            "shop",
            json!({}),
            replica_set(1, draining),
        )
        .await;
    cluster.sync_replica_set("shop").await;
    cluster.sync_pods().await;
    sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
    assert_eq!(
        list(&slice(&cluster).await.data, "/endpoints").len(),
        0,
        "no address yet"
    );

    cluster.pass(2);
    cluster.sync_pods().await;
    sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
    let ready = slice(&cluster).await;
    assert_eq!(text(&ready.data, "/endpoints/0/addresses/0"), Some("127.1.0.1"));
    assert_eq!(
        ready.data.pointer("/endpoints/0/conditions"),
        Some(&json!({"ready": true, "serving": true, "terminating": false}))
    );

    cluster.scale("shop", 0).await;
    cluster.sync_replica_set("shop").await;
    assert_eq!(
        cluster.sync_pods().await,
        Some(TimeDelta::seconds(10)),
        "the preStop sleep"
    );
    sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
    assert_eq!(
        slice(&cluster).await.data.pointer("/endpoints/0/conditions"),
        Some(&json!({"ready": false, "serving": true, "terminating": true}))
    );

    cluster.pass(10);
    cluster.sync_pods().await;
    sync_endpoint_slice(&cluster.client, &key("shop")).await.unwrap();
    assert_eq!(list(&slice(&cluster).await.data, "/endpoints").len(), 0);
}

#[tokio::test]
async fn a_pod_that_crashes_or_is_never_ready_says_so() {
    for (variable, value) in [("READY", "false"), ("CRASH_AFTER_SECONDS", "1")] {
        let mut cluster = Cluster::new();
        let env =
            json!({"env": [{"name": "START_SECONDS", "value": "0"}, {"name": variable, "value": value}]});
        cluster
            .create(&resource::replica_sets(), "shop", json!({}), replica_set(1, env))
            .await;
        cluster.sync_replica_set("shop").await;
        cluster.sync_pods().await;
        cluster.pass(1);
        cluster.sync_pods().await;
        cluster.sync_replica_set("shop").await;
        let replica_set = cluster.get(&resource::replica_sets(), "shop").await.unwrap();
        assert_eq!(counts(&replica_set), [1, 0, 0], "{variable}");
    }
}

#[tokio::test]
async fn what_lost_its_owner_goes_and_what_has_one_stays() {
    let mut cluster = Cluster::new();
    let kinds = [resource::replica_sets(), resource::pods()];
    let kind = resource::replica_sets();
    cluster
        .create(&kind, "shop", json!({}), replica_set(1, json!({})))
        .await;
    cluster.sync_replica_set("shop").await;
    let pod = Key::of(cluster.pods().await.first().unwrap());
    sync_dependent(&cluster.client, &kinds, &resource::pods(), &pod)
        .await
        .unwrap();
    assert_eq!(cluster.pods().await.len(), 1);

    // Another ReplicaSet of the same name is not the owner.
    cluster.delete(&kind, "shop").await;
    cluster
        .create(&kind, "shop", json!({}), replica_set(0, json!({})))
        .await;
    sync_dependent(&cluster.client, &kinds, &resource::pods(), &pod)
        .await
        .unwrap();
    assert_eq!(cluster.pods().await.len(), 0);
}

#[tokio::test]
async fn an_owner_of_an_unknown_kind_is_taken_to_exist() {
    let mut cluster = Cluster::new();
    cluster
        .create(
            &resource::replica_sets(),
            "shop",
            json!({}),
            replica_set(1, json!({})),
        )
        .await;
    cluster.sync_replica_set("shop").await;
    cluster.delete(&resource::replica_sets(), "shop").await;
    let pod = Key::of(cluster.pods().await.first().unwrap());
    sync_dependent(&cluster.client, &[resource::pods()], &resource::pods(), &pod)
        .await
        .unwrap();
    assert_eq!(cluster.pods().await.len(), 1);
}
