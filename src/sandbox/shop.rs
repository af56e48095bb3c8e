//! A shop: the example Rollout with its Services, its Ingress and its AnalysisTemplates in one namespace, the
//! customers who send it requests, and the hand that releases new versions. What is applied is what `examples/` and
//! `analysis-templates/` say, but for the host and the settle time.

use std::net::SocketAddr;
use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use thiserror::Error;

use super::load::{Load, LoadGenerator};
use super::pods::cannot_start;
use super::resource::pods;
use crate::api::analysis_run::AnalysisRun;
use crate::api::rollout::Rollout;
use crate::api::rollout_status::{Phase, RolloutStatus};

const MANIFESTS: [&str; 4] = [
    include_str!("../../analysis-templates/error-rate.yaml"),
    include_str!("../../analysis-templates/latency-p95.yaml"),
    include_str!("../../examples/checkout/network.yaml"),
    include_str!("../../examples/checkout/rollout.yaml"),
];
/// Of the Rollout and of the stable Ingress.
pub const NAME: &str = "checkout";
const CONNECTIONS: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum ShopError {
    #[error("cannot {verb} the objects of the shop")]
    Api {
        verb: &'static str,
        source: Box<kube::Error>,
    },
    #[error("an example of the shop is not valid: {0}")]
    Example(String),
}

/// A version of the demo application and how it behaves.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    pub name: &'a str,
    pub latency_ms: &'a str,
    /// Share of requests answered with 500.
    pub error_rate: &'a str,
}

pub struct Shop {
    client: kube::Client,
    namespace: String,
    host: String,
}

impl Shop {
    /// Applies the examples to a namespace that exists. The settle time must be longer than the data plane takes to
    /// follow; the host must be no other shop's.
    pub async fn open(
        client: kube::Client,
        namespace: &str,
        host: &str,
        settle_seconds: u64,
    ) -> Result<Self, ShopError> {
        Shop::open_changed(client, namespace, host, settle_seconds, |_| ()).await
    }

    /// [`Shop::open`], with every object changed before it is applied.
    pub async fn open_changed(
        client: kube::Client,
        namespace: &str,
        host: &str,
        settle_seconds: u64,
        change: impl Fn(&mut Value),
    ) -> Result<Self, ShopError> {
        let shop = Shop {
            client,
            namespace: namespace.to_owned(),
            host: host.to_owned(),
        };
        for text in MANIFESTS {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(text).map_err(|error| ShopError::Example(error.to_string()))?;
            for mut document in documents {
                match document.get("kind").and_then(Value::as_str) {
                    Some("Rollout") => set(
                        &mut document,
                        "/spec/strategy/canary/trafficRouting/settleSeconds",
                        json!(settle_seconds),
                    )?,
                    Some("Ingress") => set(&mut document, "/spec/rules/0/host", json!(host))?,
                    _ => {}
                }
                change(&mut document);
                shop.create(document).await?;
            }
        }
        Ok(shop)
    }

    /// Lets the customers in.
    pub fn admit_customers(&self, ingress: SocketAddr, requests_per_second: u32) -> LoadGenerator {
        LoadGenerator::start(Load {
            target: ingress,
            host: self.host.clone(),
            path: "/".to_owned(),
            requests_per_second,
            connections: CONNECTIONS,
            timeout: TIMEOUT,
        })
    }

    /// Changes the image and the environment in one patch; returns the new generation.
    pub async fn release(&self, version: Version<'_>) -> Result<i64, ShopError> {
        let container = "/spec/template/spec/containers/0";
        let env = json!([
            {"name": "LATENCY_MS", "value": version.latency_ms},
            {"name": "ERROR_RATE", "value": version.error_rate},
        ]);
        let image = format!("registry.example/checkout:{}", version.name);
        let patch = json!([
            {"op": "replace", "path": format!("{container}/image"), "value": image},
            {"op": "replace", "path": format!("{container}/env"), "value": env},
        ]);
        let patch: json_patch::Patch =
            serde_json::from_value(patch).map_err(|error| ShopError::Example(error.to_string()))?;
        let patched = self
            .rollouts()
            .patch(NAME, &PatchParams::default(), &Patch::<()>::Json(patch))
            .await;
        let rollout = patched.map_err(|error| failed("patch", error))?;
        Ok(rollout.metadata.generation.unwrap_or_default())
    }

    pub async fn status(&self) -> Result<RolloutStatus, ShopError> {
        Ok(self.rollout().await?.status.unwrap_or_default())
    }

    pub async fn rollout(&self) -> Result<Rollout, ShopError> {
        self.rollouts()
            .get(NAME)
            .await
            .map_err(|error| failed("get", error))
    }

    /// An AnalysisRun of this name; `None` while there is none.
    pub async fn run(&self, name: &str) -> Result<Option<AnalysisRun>, ShopError> {
        let runs: Api<AnalysisRun> = Api::namespaced(self.client.clone(), &self.namespace);
        runs.get_opt(name).await.map_err(|error| failed("get", error))
    }

    /// Why pods of the shop cannot start, one sentence each.
    pub async fn pods_that_cannot_start(&self) -> Result<Vec<String>, ShopError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &pods());
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.map_err(|error| failed("list", error))?;
        let reasons = listed.items.iter().filter_map(cannot_start);
        Ok(reasons.map(str::to_owned).collect())
    }

    fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, document: Value) -> Result<(), ShopError> {
        let object: DynamicObject =
            serde_json::from_value(document).map_err(|error| ShopError::Example(error.to_string()))?;
        let types = object.types.clone().unwrap_or_default();
        let kind =
            GroupVersionKind::try_from(&types).map_err(|error| ShopError::Example(error.to_string()))?;
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let created = api.create(&PostParams::default(), &object).await;
        created.map(drop).map_err(|error| failed("create", error))
    }
}

pub fn canary_weight(status: &RolloutStatus) -> i64 {
    status
        .canary
        .weights
        .as_ref()
        .map_or(0, |weights| weights.canary.weight.0)
}

pub fn is_promoted(status: &RolloutStatus) -> bool {
    status.phase == Some(Phase::Healthy) && status.stable_rs == status.current_pod_hash
}

/// Aborted, and no data plane sends the new version anything any more.
pub fn is_back(status: &RolloutStatus) -> bool {
    let verified = status
        .canary
        .weights
        .as_ref()
        .is_some_and(|weights| weights.verified);
    status.abort && verified && status.spares_current()
}

fn failed(verb: &'static str, error: kube::Error) -> ShopError {
    ShopError::Api {
        verb,
        source: Box::new(error),
    }
}

fn set(document: &mut Value, path: &str, value: Value) -> Result<(), ShopError> {
    let place = document
        .pointer_mut(path)
        .ok_or_else(|| ShopError::Example(format!("{path} is missing")))?;
    *place = value;
    Ok(())
}
