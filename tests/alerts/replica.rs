//! A replica that does not lead, with a receiver, and Rollouts that somebody else releases.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidegate::alerts::RoutingLabels;
use tidegate::api::address::AddressPolicy;
use tidegate::api::crd;
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::client::Api;
use tidegate::clock::Clock;
use tidegate::controllers::alerts::Alerts;
use tidegate::controllers::context::Context;
use tidegate::controllers::lease::campaign::LeaseSettings;
use tidegate::controllers::lease::election::Timing;
use tidegate::controllers::run::{Handle, Settings, start};
use tidegate::providers::Prometheus;
use tidegate::receiver::{self, Listening, TlsFiles};
use tidegate::sandbox::api_server::service::Outcome;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Interceptor};
use tokio::task::JoinHandle;

use crate::client::{self, Answer, alert, webhook};

/// Which the controller looks after, each by itself.
const NAMESPACES: [&str; 2] = ["shop", "bank"];

/// When the revisions began, and a moment later.
pub const BEGAN: &str = "2026-11-26T06:00:00Z";
pub const LATER: &str = "2026-11-26T06:01:00.123456789Z";
/// Of the namespace `shop`, and of all.
pub const SHOP: &str = "token-of-the-shop";
pub const ALL: &str = "token-of-everybody";

/// A folder of one test.
pub fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let name = format!("alerts-{}-{number}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub fn hash_of(token: &str) -> String {
    let digest = Sha256::digest(token);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub fn write_tokens(folder: &Path) -> PathBuf {
    let path = folder.join("tokens.yaml");
    let tokens = json!([
        {"namespaces": ["shop"], "tokens": [hash_of(SHOP), hash_of("the-next-token")]},
        {"namespaces": ["*"], "tokens": [hash_of(ALL)]},
    ]);
    std::fs::write(&path, tokens.to_string()).unwrap();
    path
}

pub fn request(server: &ApiServer, method: &str, path: &str, body: &Value) {
    let mut request = ApiRequest::new(method, path);
    request.content_type = match method {
        "PATCH" => "application/merge-patch+json".to_owned(),
        _ => "application/json".to_owned(),
    };
    request.body = body.to_string().into_bytes();
    match server.handle(&request) {
        Outcome::Answer(answer) if answer.code < 300 => {}
        Outcome::Answer(answer) => panic!("{method} {path}: {}", answer.code),
        _ => panic!("{method} {path}"),
    }
}

pub async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

/// Receives alerts for a controller, at a free port.
pub async fn listen(controller: &Handle, folder: &Path, tls: Option<TlsFiles>) -> Listening {
    let settings = receiver::Settings {
        address: "127.0.0.1:0".parse().unwrap(),
        tls,
        tokens: write_tokens(folder),
        labels: RoutingLabels::default(),
    };
    let listening = Listening::begin(settings, Arc::clone(&controller.context), controller.readiness());
    listening.await.unwrap()
}

pub struct Replica {
    pub server: ApiServer,
    pub controller: Handle,
    pub address: SocketAddr,
    pub folder: PathBuf,
    serving: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Replica {
    /// Ready, and on standby: somebody else holds the Lease.
    pub async fn standby() -> Self {
        let replica = Replica::start(None).await;
        replica.ready().await;
        replica
    }

    pub async fn start(tls: Option<fn(&Path) -> TlsFiles>) -> Self {
        Replica::start_before(tls, None).await
    }

    /// With an API server that answers in this way from the beginning.
    pub async fn start_before(
        tls: Option<fn(&Path) -> TlsFiles>,
        interceptor: Option<Box<dyn Interceptor>>,
    ) -> Self {
        let server = ApiServer::new(1, Clock::System);
        for definition in crd::all().unwrap() {
            server.install_crd(definition).unwrap();
        }
        for name in NAMESPACES {
            request(
                &server,
                "POST",
                "/api/v1/namespaces",
                &json!({"metadata": {"name": name}}),
            );
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "tidegate", "namespace": "shop"},
            "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "leaseTransitions": 1,
                     "renewTime": "2026-11-26T06:00:00.000000Z", "acquireTime": "2026-11-26T06:00:00.000000Z"},
        });
        request(&server, "POST", &Resource::Lease.collection_path("shop"), &lease);
        server.set_interceptor(interceptor);
        let folder = folder();
        let mut context = context(&server);
        context.alerts = Some(Alerts::default());
        let controller = start(
            context,
            Settings {
                namespaces: NAMESPACES.map(str::to_owned).into(),
                lease: Some(LeaseSettings {
                    lease: ObjectKey::new("shop", "tidegate"),
                    identity: "me".to_owned(),
                    timing: Timing {
                        lease: Duration::from_secs(3600),
                        renew: Duration::from_secs(10),
                        retry: Duration::from_secs(2),
                    },
                }),
                ..Settings::default()
            },
        );
        let listening = listen(&controller, &folder, tls.map(|write| write(&folder))).await;
        Replica {
            server,
            controller,
            address: listening.address().unwrap(),
            folder,
            serving: tokio::spawn(listening.serve()),
        }
    }

    pub async fn ready(&self) {
        let mut ready = self.controller.readiness();
        ready.wait_for(|ready| *ready).await.unwrap();
    }

    /// A Rollout that is being released, with these matchers; others of its status are changed. It is known at once.
    pub async fn release(&self, namespace: &str, name: &str, matchers: &[&str], change: Value) {
        let rollout = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
                "strategy": {"canary": {"steps": [{"setWeight": 10}]}},
                "abortOn": {"alerts": [{"matchers": matchers}]},
            },
        });
        request(
            &self.server,
            "POST",
            &Resource::Rollout.collection_path(namespace),
            &rollout,
        );
        let mut status = json!({
            "stableRS": "old", "currentPodHash": "new", "revision": 7, "revisionStartedAt": BEGAN, "replicas": 1,
            "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "HPAReplicas": 1,
        });
        for (field, value) in change.as_object().unwrap() {
            status[field] = value.clone();
        }
        self.put_status(namespace, name, &status).await;
    }

    pub async fn put_status(&self, namespace: &str, name: &str, status: &Value) {
        let key = ObjectKey::new(namespace, name);
        let path = format!("{}/status", Resource::Rollout.object_path(&key));
        request(&self.server, "PATCH", &path, &json!({"status": status}));
        let stores = &self.controller.context.observer.stores;
        let stored = || {
            let objects = self.server.inspect(|store| store.list("Rollout"));
            let is_it = |object: &&std::sync::Arc<Value>| ObjectKey::of(object).as_ref() == Some(&key);
            objects.iter().find(is_it).map(|object| object.as_ref().clone())
        };
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        until(|| {
            let cached = stores.get(Resource::Rollout, &key);
            cached.as_ref().map(version) == stored().as_ref().map(version)
        })
        .await;
        // The cache is told first, whoever decides on alerts right after.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    pub fn commands(&self) -> Vec<Value> {
        let commands = self.server.inspect(|store| store.list("RolloutCommand"));
        commands.iter().map(|command| command.as_ref().clone()).collect()
    }

    /// Answers the commands that have no answer yet, as the leader would.
    pub async fn answer_commands(&self, phase: &str) {
        let stores = &self.controller.context.observer.stores;
        for command in self
            .commands()
            .iter()
            .filter(|command| command["status"].is_null())
        {
            let key = ObjectKey::of(command).unwrap();
            let path = format!("{}/status", Resource::RolloutCommand.object_path(&key));
            let answer = json!({"status": {"phase": phase, "message": "because"}});
            request(&self.server, "PATCH", &path, &answer);
            until(|| {
                let cached = stores.get(Resource::RolloutCommand, &key);
                cached.is_some_and(|cached| cached["status"]["phase"] == phase)
            })
            .await;
        }
    }

    pub async fn post(&self, token: &str, alerts: &[Value]) -> Answer {
        client::post(self.address, token, &webhook(alerts)).await
    }

    /// Posts one alert that fires since after the revisions began.
    pub async fn fire(&self, token: &str, labels: Value) -> Answer {
        self.post(token, &[alert(&labels, "6f5a", LATER)]).await
    }

    pub fn counted(&self, line: &str) -> bool {
        let metrics = self.controller.context.metrics.encode();
        metrics.lines().any(|found| found == line)
    }
}

fn context(server: &ApiServer) -> Context {
    tidegate::providers::install_tls();
    let prometheus = Prometheus::new(None, AddressPolicy::default()).unwrap();
    let api = Api::new(server.client("tidegate"));
    Context::new(
        api,
        Clock::System,
        Arc::new(tidegate::plan::plan),
        Arc::new(prometheus),
    )
}
