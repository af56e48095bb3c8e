//! Where the scenarios are played: the sandbox with a controller in it, customers who send requests, and hands that
//! change the Rollout as a user would.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use thiserror::Error;

use super::scenario::{Outcome, Scenario, ScenarioResult};
use super::screen::{Screen, canary_weight};
use super::witness::Witness;
use crate::api::address::AddressPolicy;
use crate::api::analysis_run::AnalysisRun;
use crate::api::rollout::Rollout;
use crate::api::rollout_status::{Phase, RolloutStatus};
use crate::cli::output::{Output, OutputError, Screen as Terminal};
use crate::cli::plugin;
use crate::clock::{Clock, Stopwatch};
use crate::controllers::context::Context;
use crate::controllers::run::{Handle, start};
use crate::providers::Prometheus;
use crate::sandbox::cluster::{Cluster, ClusterError, Setup};
use crate::sandbox::dataplane::Delays;
use crate::sandbox::load::{Load, LoadGenerator, Tally};
use crate::sandbox::pods::Addresses;

const MANIFESTS: [&str; 4] = [
    include_str!("../../../analysis-templates/error-rate.yaml"),
    include_str!("../../../analysis-templates/latency-p95.yaml"),
    include_str!("../../../examples/checkout/services.yaml"),
    include_str!("../../../examples/checkout/rollout.yaml"),
];
const NAMESPACE: &str = "default";
const ROLLOUT: &str = "checkout";
pub const HOST: &str = "checkout.example";
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the customers go on after a scenario has ended, so that a late loss is counted too.
const AFTERMATH: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum StageError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("cannot {verb} the objects of the demo")]
    Api {
        verb: &'static str,
        source: Box<kube::Error>,
    },
    #[error("an example of the demo is not valid: {0}")]
    Example(String),
    #[error("cannot build the Prometheus client")]
    Provider(#[from] crate::providers::prometheus::BuildError),
    #[error("cannot write the kubeconfig")]
    Kubeconfig(#[source] std::io::Error),
    #[error("nothing came of it within {} s; the Rollout says: {message}", PATIENCE.as_secs())]
    Stuck { message: String },
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A directory that goes with its owner, also when the demo is interrupted.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A left-over file in the temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct Stage {
    cluster: Cluster,
    client: kube::Client,
    controller: Handle,
    load: Option<LoadGenerator>,
    witness: Witness,
    kubeconfig: PathBuf,
    _directory: Scratch,
    settle: Duration,
    requests_per_second: u32,
}

impl Stage {
    pub async fn set_up(delay: TimeDelta, requests_per_second: u32) -> Result<Self, StageError> {
        let setup = Setup {
            delays: Delays::all(delay),
            addresses: Addresses::loopback(),
            seed: 1,
        };
        let cluster = Cluster::start(setup).await?;
        let directory = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        tokio::fs::create_dir_all(&directory)
            .await
            .map_err(StageError::Kubeconfig)?;
        let kubeconfig = directory.join("kubeconfig");
        cluster
            .http
            .write_kubeconfig(&kubeconfig)
            .await
            .map_err(StageError::Kubeconfig)?;
        let witness = Witness::default();
        cluster.server.set_interceptor(Some(Box::new(witness.clone())));
        let policy = AddressPolicy { allow_loopback: true };
        let provider = Prometheus::new(Some(cluster.prometheus.url()), policy)?;
        let api = crate::client::Api::new(cluster.server.client("tidegate"));
        let context = Context::new(
            api,
            Clock::System,
            Arc::new(crate::plan::plan),
            Arc::new(provider),
        );
        let controller = start(context, BTreeSet::new());
        let client = cluster.server.client("demo");
        // The settle time must be longer than the data plane takes.
        let settle = Duration::from_millis(u64::try_from(delay.num_milliseconds()).unwrap_or(0));
        let settle = Duration::from_secs((settle.as_secs_f64() + 1.0).ceil() as u64);
        Ok(Stage {
            cluster,
            client,
            controller,
            load: None,
            witness,
            kubeconfig,
            _directory: Scratch(directory),
            settle,
            requests_per_second,
        })
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Where the data plane takes requests.
    pub fn ingress(&self) -> SocketAddr {
        self.cluster.ingress
    }

    /// Applies the examples as they stand, with a settle time for this data plane, and lets the customers in.
    pub async fn deploy_first_version(&mut self, screen: &mut Screen) -> Result<(), StageError> {
        for text in MANIFESTS {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(text).map_err(|error| StageError::Example(error.to_string()))?;
            for mut document in documents {
                if document.get("kind").and_then(Value::as_str) == Some("Rollout") {
                    set(
                        &mut document,
                        "/spec/strategy/canary/trafficRouting/settleSeconds",
                        json!(self.settle.as_secs()),
                    );
                }
                self.create(document).await?;
            }
        }
        let stopwatch = Stopwatch::start();
        let is_up = |status: &RolloutStatus| status.phase == Some(Phase::Healthy);
        self.follow(&stopwatch, 1, &Tally::default(), screen, is_up)
            .await?;
        self.load = Some(LoadGenerator::start(Load {
            target: self.cluster.ingress,
            host: HOST.to_owned(),
            path: "/".to_owned(),
            requests_per_second: self.requests_per_second,
            connections: 1_000,
            timeout: Duration::from_secs(10),
        }));
        screen.say(format!(
            "v1 is up; customers send {} requests per second",
            self.requests_per_second
        ))?;
        Ok(())
    }

    /// Applies the scenario's version and waits for its end.
    pub async fn play(
        &mut self,
        scenario: &Scenario,
        screen: &mut Screen,
    ) -> Result<ScenarioResult, StageError> {
        screen.begin(scenario)?;
        self.witness.take();
        let before = self.tally();
        let stopwatch = Stopwatch::start();
        let version = self.apply_version(scenario).await?;
        if scenario.name == "abort-command" {
            let in_mid_step = |status: &RolloutStatus| canary_weight(status) > 0;
            self.follow(&stopwatch, version, &before, screen, in_mid_step)
                .await?;
            self.abort(screen).await?;
        }
        let ended = |status: &RolloutStatus| is_promoted(status) || is_back(status);
        let status = self.follow(&stopwatch, version, &before, screen, ended).await?;
        let seconds = stopwatch.elapsed().as_secs_f64();
        tokio::time::sleep(AFTERMATH).await;
        Ok(self.result(scenario, &status, &before, seconds))
    }

    /// Ends the load, the controller and the cluster, in that order.
    pub async fn tear_down(mut self) {
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
        self.controller.stop().await;
    }

    fn tally(&self) -> Tally {
        self.load
            .as_ref()
            .map(LoadGenerator::snapshot)
            .unwrap_or_default()
    }

    fn result(
        &self,
        scenario: &Scenario,
        status: &RolloutStatus,
        before: &Tally,
        seconds: f64,
    ) -> ScenarioResult {
        let now = self.tally();
        let seen = self.witness.look();
        let outcome = if is_promoted(status) {
            Outcome::Promoted
        } else {
            Outcome::Aborted
        };
        let canary = |tally: &Tally| {
            tally
                .versions
                .get(scenario.version)
                .map_or(0, |version| version.requests)
        };
        ScenarioResult {
            scenario: scenario.name,
            outcome,
            revision: status.revision.unwrap_or_default().0,
            max_canary_weight: seen.weights.iter().copied().max().unwrap_or(0),
            weights: seen.weights,
            requests: now.sent - before.sent,
            canary_requests: canary(&now) - canary(before),
            errors: now.errors - before.errors,
            lost: now.lost_total() - before.lost_total(),
            abort: status.abort_reason.as_ref().map(Into::into),
            seconds_to_outcome: (seconds * 10.0).round() / 10.0,
            writes: seen.writes,
            expected: scenario.expects(status.abort_reason.as_ref()),
        }
    }

    /// Changes the image and the environment in one patch; returns the new generation.
    async fn apply_version(&self, scenario: &Scenario) -> Result<i64, StageError> {
        let container = "/spec/template/spec/containers/0";
        let env = json!([
            {"name": "LATENCY_MS", "value": scenario.latency_ms},
            {"name": "ERROR_RATE", "value": scenario.error_rate},
        ]);
        let patch = json!([
            {"op": "replace", "path": format!("{container}/image"), "value": format!("registry.example/checkout:{}", scenario.version)},
            {"op": "replace", "path": format!("{container}/env"), "value": env},
        ]);
        let patch: json_patch::Patch =
            serde_json::from_value(patch).map_err(|error| StageError::Example(error.to_string()))?;
        let params = PatchParams::default();
        let rollout = self
            .rollouts()
            .patch(ROLLOUT, &params, &Patch::<()>::Json(patch))
            .await;
        let rollout = rollout.map_err(|source| StageError::Api {
            verb: "patch",
            source: Box::new(source),
        })?;
        Ok(rollout.metadata.generation.unwrap_or_default())
    }

    /// Types `kubectl tidegate abort`.
    async fn abort(&self, screen: &mut Screen) -> Result<(), StageError> {
        let reason = "second thoughts";
        screen.say(format!(
            "$ kubectl tidegate abort {ROLLOUT} --reason \"{reason}\""
        ))?;
        let kubeconfig = self.kubeconfig.as_os_str().to_owned();
        let words = [
            "kubectl-tidegate",
            "abort",
            ROLLOUT,
            "--reason",
            reason,
            "--kubeconfig",
        ]
        .map(OsString::from);
        let arguments = words.into_iter().chain([kubeconfig]);
        let mut silent = Output::new(
            Box::new(std::io::sink()),
            Box::new(std::io::stderr()),
            Terminal::default(),
        );
        let ended = plugin::run(arguments, &mut silent).await;
        plugin::report(ended, &mut silent);
        Ok(())
    }

    /// Shows the Rollout until its status speaks of this generation and is as wanted.
    async fn follow(
        &self,
        stopwatch: &Stopwatch,
        generation: i64,
        before: &Tally,
        screen: &mut Screen,
        wanted: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus, StageError> {
        let patience = Stopwatch::start();
        let mut analysis = None;
        loop {
            let rollout = get(&self.rollouts(), ROLLOUT).await?;
            let status = rollout.status.clone().unwrap_or_default();
            let seconds = stopwatch.elapsed().as_secs_f64();
            if status.observed_generation == Some(generation) {
                // The run of a step that is over is looked at once more, for its last measurement.
                let running = status.canary.current_step_analysis_run_status.clone();
                for run in [analysis, running.as_ref().map(|run| run.name.clone())]
                    .iter()
                    .flatten()
                {
                    // It may not exist yet.
                    if let Some(run) = self.runs().get_opt(run).await.ok().flatten() {
                        screen.measurements(seconds, &rollout, &run)?;
                    }
                }
                analysis = running.map(|run| run.name);
                screen.follow(seconds, &rollout)?;
                screen.live(&status, before, &self.tally())?;
                if wanted(&status) {
                    return Ok(status);
                }
            }
            if patience.elapsed() > PATIENCE {
                return Err(StageError::Stuck {
                    message: status.message.unwrap_or_default(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn runs(&self) -> Api<AnalysisRun> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn create(&self, document: Value) -> Result<(), StageError> {
        let object: DynamicObject =
            serde_json::from_value(document).map_err(|error| StageError::Example(error.to_string()))?;
        let types = object.types.clone().unwrap_or_default();
        let kind = kube::core::GroupVersionKind::try_from(&types)
            .map_err(|error| StageError::Example(error.to_string()))?;
        let resource = kube::core::ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let created = api.create(&PostParams::default(), &object).await;
        created.map(|_| ()).map_err(|source| StageError::Api {
            verb: "create",
            source: Box::new(source),
        })
    }
}

fn set(document: &mut Value, path: &str, value: Value) {
    if let Some(place) = document.pointer_mut(path) {
        *place = value;
    }
}

async fn get(rollouts: &Api<Rollout>, name: &str) -> Result<Rollout, StageError> {
    rollouts.get(name).await.map_err(|source| StageError::Api {
        verb: "get",
        source: Box::new(source),
    })
}

fn is_promoted(status: &RolloutStatus) -> bool {
    status.phase == Some(Phase::Healthy) && status.stable_rs == status.current_pod_hash
}

/// Aborted, and no data plane sends the canary anything any more.
fn is_back(status: &RolloutStatus) -> bool {
    let verified = status
        .canary
        .weights
        .as_ref()
        .is_some_and(|weights| weights.verified);
    status.abort && verified && canary_weight(status) == 0
}
