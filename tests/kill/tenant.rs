//! A shop that releases a good version, then a bad one, and so on, and looks closely at how each ends.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Api;
use kube::api::{ListParams, PostParams};
use tidegate::api::analysis_run::AnalysisRun;
use tidegate::api::rollout_status::{AbortSource, Phase, RolloutStatus};
use tidegate::sandbox::cluster::Cluster;
use tidegate::sandbox::load::{LoadGenerator, Tally};
use tidegate::sandbox::shop::{Shop, Version, is_back, is_promoted};

const REQUESTS_PER_SECOND: u32 = 40;
const SETTLE_SECONDS: u64 = 1;
const POLL: Duration = Duration::from_millis(200);
/// Whoever waits so often has waited in vain.
const POLLS: u32 = 1_500;

/// A shop, its customers, and the version they must be left with.
pub struct Tenant {
    client: kube::Client,
    namespace: String,
    shop: Shop,
    customers: LoadGenerator,
    stable: String,
}

impl Tenant {
    pub async fn open(cluster: &Cluster, number: u64) -> Self {
        let client = cluster.server.client("test");
        let namespace = format!("shop-{number}");
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.clone());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        let host = format!("{namespace}.example");
        let shop = Shop::open(client.clone(), &namespace, &host, SETTLE_SECONDS)
            .await
            .unwrap();
        await_status(&shop, is_promoted).await;
        let customers = shop.admit_customers(cluster.ingress, REQUESTS_PER_SECOND);
        let stable = "v1".to_owned();
        Tenant {
            client,
            namespace,
            shop,
            customers,
            stable,
        }
    }

    /// Releases one version after the other, each of which must end as it deserves.
    pub async fn release_until(&mut self, is_enough: impl Fn() -> bool) {
        for number in 2.. {
            let name = format!("v{number}");
            let is_bad = number % 2 == 1;
            let version = Version {
                name: &name,
                latency_ms: "20",
                error_rate: if is_bad { "0.3" } else { "0" },
            };
            let generation = self.shop.release(version).await.unwrap();
            let status = await_status(&self.shop, |status| {
                status.observed_generation == Some(generation) && (is_promoted(status) || is_back(status))
            })
            .await;
            let told = format!("{} {name}: {status:#?}", self.namespace);
            assert_eq!(is_back(&status), is_bad, "{told}");
            let reason = status.abort_reason.as_ref();
            let grounds = reason.map(|reason| (reason.by, reason.rule.as_deref()));
            let expected = is_bad.then_some((AbortSource::Analysis, Some("error-rate")));
            assert_eq!(grounds, expected, "{told}");
            if !is_bad {
                self.stable = name;
            }
            if is_enough() {
                return;
            }
        }
    }

    /// Waits until nothing is in between any more and sends the customers home.
    pub async fn close(self) {
        let mut left = self.left_over().await;
        for _ in 0..POLLS {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(POLL).await;
            left = self.left_over().await;
        }
        assert_eq!(left, Vec::<String>::new(), "{}", self.namespace);
        // From now on only the stable version answers.
        let before = self.customers.snapshot();
        let mut after = before.clone();
        for _ in 0..POLLS {
            if answered(&after, &self.stable) > answered(&before, &self.stable) + 100 {
                break;
            }
            tokio::time::sleep(POLL).await;
            after = self.customers.snapshot();
        }
        let others = |tally: &Tally| tally.ok + tally.errors - answered(tally, &self.stable);
        assert!(answered(&after, &self.stable) > answered(&before, &self.stable) + 100);
        assert_eq!(others(&after), others(&before), "{} {after:?}", self.namespace);
        let tally = self.customers.stop().await;
        assert_eq!(tally.lost_total(), 0, "{} {:?}", self.namespace, tally.lost);
        assert_eq!(tally.ok + tally.errors, tally.sent, "{}", self.namespace);
        println!(
            "{}: {} requests, 0 lost, {} at the end",
            self.namespace, tally.sent, self.stable
        );
    }

    /// What is not yet, or never will be, as if no release had been under way.
    async fn left_over(&self) -> Vec<String> {
        let status = self.shop.status().await.unwrap();
        let stable = status.stable_rs.clone().unwrap_or_default().0;
        let mut left = Vec::new();
        let phase = if status.abort {
            Phase::Degraded
        } else {
            Phase::Healthy
        };
        if status.phase != Some(phase) {
            left.push(format!("Rollout is {:?}: {:?}", status.phase, status.message));
        }
        for run in self.list::<AnalysisRun>().await {
            let verdict = run.status.unwrap_or_default().phase;
            if !verdict.is_final() {
                left.push(format!("AnalysisRun {:?} is {verdict:?}", run.metadata.name));
            }
        }
        for replica_set in self.list::<ReplicaSet>().await {
            let name = replica_set.metadata.name.unwrap_or_default();
            let wanted = if name.ends_with(&stable) { 4 } else { 0 };
            let spec = replica_set.spec.and_then(|spec| spec.replicas);
            let pods = replica_set.status.map(|status| status.replicas);
            if (spec, pods) != (Some(wanted), Some(wanted)) {
                left.push(format!(
                    "ReplicaSet {name} has {spec:?} replicas and {pods:?} pods, not {wanted}"
                ));
            }
        }
        for service in self.list::<Service>().await {
            let name = service.metadata.name.unwrap_or_default();
            let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
            if name == "checkout-stable" && !selector.values().any(|value| *value == stable) {
                left.push(format!("Service {name} selects {selector:?}, not {stable}"));
            }
        }
        left
    }

    async fn list<K>(&self) -> Vec<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.list(&ListParams::default()).await.unwrap().items
    }
}

fn answered(tally: &Tally, version: &str) -> u64 {
    tally.versions.get(version).map_or(0, |tally| tally.requests)
}

async fn await_status(shop: &Shop, is_wanted: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
    let mut status = RolloutStatus::default();
    for _ in 0..POLLS {
        status = shop.status().await.unwrap();
        if is_wanted(&status) {
            return status;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("waited in vain: {status:#?}");
}
