//! The sandbox's parts together, live: API server, controllers, nodes, data plane, load, Prometheus. Waits are bounded
//! and end with the condition waited for; nothing is asserted about how long anything takes.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::ApiServer;
use tidegate::sandbox::controllers;
use tidegate::sandbox::dataplane::proxy::Proxy;
use tidegate::sandbox::dataplane::{Delays, Fraction, LostReason};
use tidegate::sandbox::load::{Load, LoadGenerator};
use tidegate::sandbox::pods::app::Sockets;
use tidegate::sandbox::pods::{self, Addresses, Nodes};
use tidegate::sandbox::prometheus::{Prometheus, follow_pods};
use tidegate::sandbox::resource::{self, Key, list};
use tidegate::sandbox::rng::Rng;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const HOST: &str = "shop.example";
/// Long enough for a busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Sandbox {
    server: ApiServer,
    client: kube::Client,
    proxy: Arc<Proxy>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// `first_pod` keeps tests that run at the same time out of each other's addresses.
    async fn start(delay: TimeDelta, first_pod: Ipv4Addr) -> Self {
        let clock = Clock::System;
        let server = ApiServer::new(1, clock.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(controllers::run(
            server.client("controllers"),
            clock.clone(),
            Rng::new(1),
            Vec::new(),
        ));
        let nodes = Nodes::new(
            server.client("nodes"),
            Addresses::starting_at(first_pod),
            Sockets::default(),
        );
        tasks.spawn(pods::run(nodes, clock.clone()));
        let proxy = Arc::new(Proxy::new(clock, Delays::all(delay), Duration::from_secs(5)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(Arc::clone(&proxy).serve(listener));
        let (follower, follows) = (Arc::clone(&proxy), server.client("data-plane"));
        tasks.spawn(async move { follower.follow(follows).await });
        Sandbox {
            client: server.client("test"),
            server,
            proxy,
            address,
            tasks,
        }
    }

    async fn create(&self, resource: &ApiResource, spec: Value) {
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": "shop", "namespace": "default"}, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        key()
            .api(&self.client, resource)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// A ReplicaSet, its Service and an Ingress, served.
    async fn deploy(&self, replicas: u32, container: Value) {
        let template = json!({
            "metadata": {"labels": {"app": "shop", "rollouts-pod-template-hash": "abc"}},
            "spec": {"containers": [container]},
        });
        let selector = json!({"matchLabels": {"app": "shop"}});
        let replica_set = json!({"replicas": replicas, "selector": selector, "template": template});
        self.create(&resource::replica_sets(), replica_set).await;
        let ports = json!([{"port": 80, "targetPort": "http"}]);
        self.create(
            &resource::services(),
            json!({"selector": {"app": "shop"}, "ports": ports}),
        )
        .await;
        let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        self.create(
            &resource::ingresses(),
            json!({"rules": [{"host": HOST, "http": {"paths": paths}}]}),
        )
        .await;
        let all = usize::try_from(replicas).unwrap();
        until("all pods have their share", async || {
            self.proxy.shares(HOST, "/").pods.len() == all
        })
        .await;
    }

    async fn scale(&self, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let api = key().api(&self.client, &resource::replica_sets());
        api.patch("shop", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn count(&self, resource: &ApiResource) -> usize {
        key()
            .api(&self.client, resource)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len()
    }

    fn load(&self) -> LoadGenerator {
        LoadGenerator::start(Load {
            target: self.address,
            host: HOST.to_owned(),
            path: "/".to_owned(),
            requests_per_second: 100,
            connections: 50,
            timeout: Duration::from_secs(10),
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn key() -> Key {
    Key::new("default", "shop")
}

fn container(env: Value, extra: Value) -> Value {
    let mut container = json!({
        "name": "app", "image": "shop:v1", "env": env, "ports": [{"name": "http", "containerPort": 18080}],
    });
    container
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    container
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_by_all_pods_and_lost_without_any() {
    let sandbox = Sandbox::start(TimeDelta::zero(), Ipv4Addr::new(127, 21, 0, 1)).await;
    // Slow enough that some requests are always in flight.
    let env = json!([{"name": "LATENCY_MS", "value": "200"}]);
    sandbox.deploy(2, container(env, json!({}))).await;
    let load = sandbox.load();
    until("200 requests are answered", async || load.snapshot().ok >= 200).await;
    let tally = load.snapshot();
    assert_eq!((tally.errors, tally.lost_total()), (0, 0), "{tally:?}");
    assert_eq!(tally.pods.len(), 2);
    assert_eq!(tally.versions.keys().collect::<Vec<_>>(), ["v1"]);

    sandbox.scale(0).await;
    until("no pod has a share", async || {
        sandbox
            .proxy
            .shares(HOST, "/")
            .lost
            .contains_key(&LostReason::NoEndpoint)
    })
    .await;
    let lost_then = load.snapshot().lost_total();
    until("requests are lost", async || {
        load.snapshot().lost_total() > lost_then + 20
    })
    .await;
    let tally = load.stop().await;
    assert!(tally.lost.contains_key("no-endpoint"), "{tally:?}");
    assert!(tally.lost.contains_key("reset"), "those in flight: {tally:?}");
    assert_eq!(tally.errors, 0, "a lost request is no error: {tally:?}");
    assert_eq!(tally.sent, tally.ok + tally.lost_total());
    assert_eq!(sandbox.count(&resource::pods()).await, 0);

    let services = key().api(&sandbox.client, &resource::services());
    services.delete("shop", &DeleteParams::default()).await.unwrap();
    let slices = resource::endpoint_slices();
    until("the slice goes with its Service", async || {
        sandbox.count(&slices).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_data_plane_loses_requests_unless_the_pod_serves_on() {
    for (octet, sleep) in [(22, None), (23, Some(2))] {
        let delay = TimeDelta::milliseconds(500);
        let sandbox = Sandbox::start(delay, Ipv4Addr::new(127, octet, 0, 1)).await;
        let extra = sleep.map(|seconds| json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}));
        sandbox
            .deploy(2, container(json!([]), extra.unwrap_or_else(|| json!({}))))
            .await;
        let load = sandbox.load();
        until("both pods answer", async || load.snapshot().pods.len() == 2).await;
        sandbox.scale(1).await;
        until("one pod is gone", async || {
            sandbox.count(&resource::pods()).await == 1
        })
        .await;
        until("one pod has it all", async || {
            sandbox.proxy.shares(HOST, "/").pods.len() == 1
        })
        .await;
        let tally = load.stop().await;
        let lost: Vec<_> = tally.lost.keys().map(String::as_str).collect();
        match sleep {
            Some(_) => assert_eq!(lost, Vec::<&str>::new()),
            None => assert!(lost.contains(&"refused"), "{tally:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_sees_the_errors_of_a_hash() {
    let sandbox = Sandbox::start(TimeDelta::zero(), Ipv4Addr::new(127, 24, 0, 1)).await;
    let env = json!([{"name": "ERROR_RATE", "value": "0.5"}, {"name": "LATENCY_MS", "value": "20"}]);
    sandbox.deploy(1, container(env, json!({}))).await;
    let prometheus = Prometheus::start(Duration::from_secs(1)).await.unwrap();
    let (client, file) = (sandbox.client.clone(), prometheus.targets_file());
    let targets = tokio::spawn(follow_pods(client, file));
    let load = sandbox.load();
    let by_hash = "by (rollouts_pod_template_hash)";
    let errors = format!(r#"sum {by_hash} (rate(http_requests_total{{code=~"5.."}}[10s]))"#);
    let latency =
        "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[10s]))) > 0";
    until("the error rate is known", async || {
        let result = query(&prometheus, &format!("{errors} > 0")).await;
        result.pointer("/0/metric/rollouts_pod_template_hash") == Some(&json!("abc"))
    })
    .await;
    until("the latency is known", async || {
        query(&prometheus, latency).await.pointer("/0/value/1").is_some()
    })
    .await;
    let tally = load.stop().await;
    assert!(tally.errors > 0 && tally.lost_total() == 0, "{tally:?}");
    targets.abort();
}

/// As much of the CustomResourceDefinition of HTTPRoute as the data plane relies on.
fn http_route_crd() -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "httproutes.gateway.networking.k8s.io"},
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"plural": "httproutes", "singular": "httproute", "kind": "HTTPRoute", "listKind": "HTTPRouteList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": schema, "status": schema},
                }},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_route_is_acknowledged_before_its_traffic_moves() {
    let sandbox = Sandbox::start(TimeDelta::milliseconds(1500), Ipv4Addr::new(127, 25, 0, 1)).await;
    sandbox.server.install_crd(http_route_crd()).unwrap();
    sandbox.deploy(1, container(json!([]), json!({}))).await;
    let backend = |name: &str| json!({"name": name, "port": 80, "weight": 50});
    let route = json!({
        "parentRefs": [{"name": "gateway"}], "hostnames": ["route.example"],
        "rules": [{"backendRefs": [backend("shop"), backend("missing")]}],
    });
    sandbox.create(&resource::http_routes(), route).await;
    let api = key().api(&sandbox.client, &resource::http_routes());
    until("the route is accepted", async || {
        let route = api.get("shop").await.unwrap();
        let conditions = list(&route.data, "/status/parents/0/conditions");
        let says = |kind: &str, status: &str| {
            conditions
                .iter()
                .any(|c| c["type"] == kind && c["status"] == status && c["observedGeneration"] == 1)
        };
        says("Accepted", "True") && says("ResolvedRefs", "False")
    })
    .await;
    let shares = || sandbox.proxy.shares("route.example", "/");
    until("the route is served", async || {
        !shares().lost.contains_key(&LostReason::NoRoute)
    })
    .await;
    let half = Fraction::new(1, 2);
    assert_eq!(shares().lost.get(&LostReason::NoService), Some(&half));
    assert_eq!(shares().pods.into_values().collect::<Vec<_>>(), [half]);
}

async fn query(prometheus: &Prometheus, query: &str) -> Value {
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let uri = format!("{}/api/v1/query?query={query}", prometheus.url())
        .parse()
        .unwrap();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = client
        .get(uri)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    Value::from(list(&answer, "/data/result").to_vec())
}
