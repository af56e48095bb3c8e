//! A whole cluster in which real releases go on, and a controller that leads and takes alerts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tidegate::api::address::AddressPolicy;
use tidegate::api::resource::Resource;
use tidegate::api::rollout_status::{AbortSource, Phase, RolloutStatus};
use tidegate::client::Api;
use tidegate::clock::{Clock, Stopwatch};
use tidegate::controllers::alert_poll::AlertPoll;
use tidegate::controllers::alerts::Alerts;
use tidegate::controllers::context::Context;
use tidegate::controllers::run::{Handle, Settings, start};
use tidegate::providers::Prometheus;
use tidegate::receiver::TlsFiles;
use tidegate::sandbox::api_server::{ApiRequest, Commit, Interceptor, Store};
use tidegate::sandbox::cluster::{Cluster, Setup};
use tidegate::sandbox::dataplane::Delays;
use tidegate::sandbox::pods::Addresses;
use tidegate::sandbox::shop::{Shop, Version, canary_weight};
use tokio::task::JoinHandle;

use crate::replica::{folder, listen, request, until};

const DELAY: TimeDelta = TimeDelta::milliseconds(100);

/// When the canary's weight was taken away, by namespace: the first write of weight 0 to a canary Ingress.
#[derive(Clone, Default)]
struct Zeroed(
    Arc<Mutex<std::collections::BTreeMap<String, Duration>>>,
    Option<Stopwatch>,
);

impl Interceptor for Zeroed {
    fn before(&mut self, _: &ApiRequest) -> tidegate::sandbox::api_server::Fault {
        tidegate::sandbox::api_server::Fault::None
    }

    fn committed(&mut self, commit: &Commit, store: &Store) {
        if commit.kind != "Ingress" {
            return;
        }
        let ingresses = store.list("Ingress");
        let weight = |ingress: &Value| {
            let annotations = ingress.pointer("/metadata/annotations")?;
            annotations
                .get("nginx.ingress.kubernetes.io/canary-weight")?
                .as_str()
                .map(str::to_owned)
        };
        let zero = ingresses
            .iter()
            .filter(|ingress| weight(ingress).as_deref() == Some("0"));
        let now = self.1.map(|stopwatch| stopwatch.elapsed()).unwrap_or_default();
        let mut zeroed = self.0.lock().unwrap();
        for ingress in zero {
            let namespace = ingress["metadata"]["namespace"].as_str().unwrap_or_default();
            zeroed.entry(namespace.to_owned()).or_insert(now);
        }
    }
}

pub struct Release {
    pub cluster: Cluster,
    pub controller: Handle,
    pub receiver: SocketAddr,
    pub folder: PathBuf,
    pub shops: Vec<(String, Shop)>,
    pub stopwatch: Stopwatch,
    zeroed: Zeroed,
    serving: JoinHandle<()>,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Release {
    /// So many namespaces `shop-<n>`, in each of which `checkout` has 20 % of its traffic on a new version. It is aborted
    /// by an alert with a label `shop` of that name.
    pub async fn begin(
        shops: usize,
        tls: Option<fn(&std::path::Path) -> TlsFiles>,
        poll: Option<AlertPoll>,
    ) -> Self {
        tidegate::providers::install_tls();
        let setup = Setup {
            delays: Delays::all(DELAY),
            addresses: Addresses::loopback(),
            seed: 1,
        };
        let cluster = Cluster::start(setup).await.unwrap();
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        let prometheus = Prometheus::new(Some(cluster.prometheus.url()), policy).unwrap();
        let api = Api::new(cluster.server.client("tidegate"));
        let mut context = Context::new(
            api,
            Clock::System,
            Arc::new(tidegate::plan::plan),
            Arc::new(prometheus),
        );
        context.alerts = Some(Alerts::default());
        let controller = start(
            context,
            Settings {
                alerts: poll,
                ..Settings::default()
            },
        );
        let folder = folder();
        let listening = listen(&controller, &folder, tls.map(|write| write(&folder))).await;
        let mut release = Release {
            receiver: listening.address().unwrap(),
            serving: tokio::spawn(listening.serve()),
            stopwatch: Stopwatch::start(),
            zeroed: Zeroed::default(),
            shops: Vec::new(),
            cluster,
            controller,
            folder,
        };
        for number in 0..shops {
            release.open(&format!("shop-{number}")).await;
        }
        release.bring_a_new_version().await;
        release
    }

    /// On its way with 20 % everywhere.
    async fn bring_a_new_version(&mut self) {
        self.wait_for(|status| status.phase == Some(Phase::Healthy)).await;
        for (_, shop) in &self.shops {
            let version = Version {
                name: "v2",
                latency_ms: "1",
                error_rate: "0",
            };
            shop.release(version).await.unwrap();
        }
        let in_step = |status: &RolloutStatus| {
            let weights = status.canary.weights.as_ref();
            canary_weight(status) == 20 && weights.is_some_and(|weights| weights.verified)
        };
        self.wait_for(in_step).await;
        self.zeroed.1 = Some(self.stopwatch);
        let interceptor = Box::new(self.zeroed.clone());
        self.cluster.server.set_interceptor(Some(interceptor));
    }

    async fn open(&mut self, namespace: &str) {
        let server = &self.cluster.server;
        request(
            server,
            "POST",
            "/api/v1/namespaces",
            &json!({"metadata": {"name": namespace}}),
        );
        let change = |object: &mut Value| {
            if object["kind"] == "Rollout" {
                object["spec"]["replicas"] = json!(1);
                object["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 20}, {"pause": {}}]);
                let matchers = [format!("shop=~\"{namespace}|all\"")];
                object["spec"]["abortOn"] = json!({"alerts": [{"matchers": matchers}]});
            }
        };
        let host = format!("{namespace}.example");
        let shop = Shop::open_changed(server.client("test"), namespace, &host, 1, change).await;
        self.shops.push((namespace.to_owned(), shop.unwrap()));
    }

    /// Waits for every Rollout to be as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&RolloutStatus) -> bool) {
        let stopwatch = Stopwatch::start();
        for (namespace, shop) in &self.shops {
            loop {
                let status = shop.status().await.unwrap();
                if wanted(&status) {
                    break;
                }
                let waited = stopwatch.elapsed();
                assert!(
                    waited < Duration::from_secs(90),
                    "{namespace}: {:?}",
                    status.message
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// When the weight of the canary was taken away, by the stopwatch.
    pub async fn zeroed(&self, namespace: &str) -> Duration {
        loop {
            if let Some(at) = self.zeroed.0.lock().unwrap().get(namespace) {
                return *at;
            }
            assert!(
                self.stopwatch.elapsed() < Duration::from_secs(180),
                "{namespace} keeps its weight"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn commands(&self, namespace: &str) -> Vec<Value> {
        let commands = self
            .cluster
            .server
            .inspect(|store| store.list(Resource::RolloutCommand.kind()));
        let here = commands
            .iter()
            .filter(|command| command["metadata"]["namespace"] == namespace);
        here.map(|command| command.as_ref().clone()).collect()
    }

    /// Every Rollout was aborted by this alert, once.
    pub async fn assert_aborted_once(&self, alert_name: &str) {
        for (namespace, shop) in &self.shops {
            let status = shop.status().await.unwrap();
            let reason = status.abort_reason.clone().unwrap();
            assert_eq!(reason.by, AbortSource::Alert, "{namespace}");
            assert_eq!(reason.rule, Some(format!("alert {alert_name}")), "{namespace}");
            assert!(reason.who.unwrap().starts_with("alert:"), "{namespace}");
            let aborts = status
                .history
                .iter()
                .filter(|entry| entry.what == "Aborted")
                .count();
            assert_eq!(aborts, 1, "{namespace}: {:#?}", status.history);
            // A command is answered once what it asks for is under way.
            let accepted = |commands: Vec<Value>| {
                let accepted = commands
                    .iter()
                    .filter(|command| command["status"]["phase"] == "Accepted");
                accepted.count()
            };
            until(|| accepted(self.commands(namespace)) > 0).await;
            assert_eq!(accepted(self.commands(namespace)), 1, "{namespace}");
        }
    }
}

/// The largest of most: a hundredth may be worse.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times[index]
}
