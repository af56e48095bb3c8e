//! Where the scenarios are played: the sandbox with a controller in it, customers who send requests, and hands that
//! change the Rollout as a user would.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use thiserror::Error;

use super::alarm::{ALERT, Alarm, AlarmError};
use super::scenario::{Outcome, Scenario, ScenarioResult};
use super::screen::Screen;
use super::witness::Witness;
use crate::api::address::AddressPolicy;
use crate::api::rollout_status::{AbortSource, Phase, RolloutStatus};
use crate::cli::output::{Output, OutputError, Screen as Terminal};
use crate::cli::plugin;
use crate::clock::{Clock, Stopwatch};
use crate::controllers::alerts::Alerts;
use crate::controllers::context::Context;
use crate::controllers::data_planes::DataPlanes;
use crate::controllers::run::{Handle, Settings, start};
use crate::providers::{DataPlaneReader, Prometheus};
use crate::sandbox::cluster::{Cluster, ClusterError, Setup};
use crate::sandbox::dataplane::Delays;
use crate::sandbox::load::{LoadGenerator, Tally};
use crate::sandbox::pods::Addresses;
use crate::sandbox::shop::{self, Shop, ShopError, canary_weight, is_back, is_promoted};

const NAMESPACE: &str = "default";
pub const HOST: &str = "checkout.example";
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the customers go on after a scenario has ended, so that a late loss is counted too.
const AFTERMATH: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum StageError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Shop(#[from] ShopError),
    #[error("cannot build the Prometheus client")]
    Provider(#[from] crate::providers::BuildError),
    #[error("cannot write the kubeconfig")]
    Kubeconfig(#[source] std::io::Error),
    #[error("nothing came of it within {} s; the Rollout says: {message}", PATIENCE.as_secs())]
    Stuck { message: String },
    /// Nothing that passes by itself: it is the machine that lacks something.
    #[error("{}", .0.join("; "))]
    PodsCannotStart(Vec<String>),
    #[error(transparent)]
    Alarm(#[from] AlarmError),
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
    shop: Shop,
    controller: Handle,
    load: Option<LoadGenerator>,
    witness: Witness,
    kubeconfig: PathBuf,
    directory: Scratch,
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
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        let prometheus = Arc::new(Prometheus::new(Some(cluster.prometheus.url()), policy)?);
        let data_planes = DataPlaneReader::new(Arc::clone(&prometheus), policy)?;
        let api = crate::client::Api::new(cluster.server.client("tidegate"));
        let mut context = Context::new(api, Clock::System, Arc::new(crate::plan::plan), prometheus);
        context.data_planes = DataPlanes::new(Arc::new(data_planes));
        context.alerts = Some(Alerts::default());
        let controller = start(context, Settings::default());
        // Longer than the data plane takes.
        let delay_ms = u64::try_from(delay.num_milliseconds()).unwrap_or(0);
        let settle_seconds = delay_ms.div_ceil(1000) + 1;
        let client = cluster.server.client("demo");
        let shop = Shop::open_changed(client, NAMESPACE, HOST, settle_seconds, listen_for_the_alert).await?;
        Ok(Stage {
            cluster,
            shop,
            controller,
            load: None,
            witness,
            kubeconfig,
            directory: Scratch(directory),
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

    /// Waits for the first version and lets the customers in.
    pub async fn await_first_version(&mut self, screen: &mut Screen) -> Result<(), StageError> {
        let stopwatch = Stopwatch::start();
        let is_up = |status: &RolloutStatus| status.phase == Some(Phase::Healthy);
        self.follow(&stopwatch, 1, &Tally::default(), screen, is_up)
            .await?;
        self.load = Some(
            self.shop
                .admit_customers(self.cluster.ingress, self.requests_per_second),
        );
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
        let version = self.shop.release(scenario.version).await?;
        // Whatever else stops it comes from outside, in the middle of a step; the alarm must last until it is heard.
        let mut alarm = None;
        if matches!(
            scenario.aborted_by,
            Some(AbortSource::Command | AbortSource::Alert)
        ) {
            let in_mid_step = |status: &RolloutStatus| canary_weight(status) > 0;
            self.follow(&stopwatch, version, &before, screen, in_mid_step)
                .await?;
            match scenario.aborted_by {
                Some(AbortSource::Alert) => alarm = Some(self.ring_the_alarm(screen).await?),
                _ => self.abort(screen).await?,
            }
        }
        let ended = |status: &RolloutStatus| is_promoted(status) || is_back(status);
        let status = self.follow(&stopwatch, version, &before, screen, ended).await?;
        let seconds = stopwatch.elapsed().as_secs_f64();
        drop(alarm);
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
                .get(scenario.version.name)
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

    /// An alarm for whoever wants to ring it.
    pub async fn set_up_alarm(&self) -> Result<Alarm, StageError> {
        Ok(Alarm::set_up(&self.controller, &self.directory.0).await?)
    }

    pub fn prometheus(&self) -> String {
        self.cluster.prometheus.url()
    }

    async fn ring_the_alarm(&self, screen: &mut Screen) -> Result<Alarm, StageError> {
        let alarm = self.set_up_alarm().await?;
        screen.say(match alarm.has_alertmanager() {
            true => format!("{ALERT} fires; Alertmanager sends it to the controller"),
            false => format!("{ALERT} fires; no Alertmanager is installed, so the demo sends what it would"),
        })?;
        alarm.ring().await?;
        Ok(alarm)
    }

    /// Types `kubectl tidegate abort`.
    async fn abort(&self, screen: &mut Screen) -> Result<(), StageError> {
        let reason = "second thoughts";
        screen.say(format!(
            "$ kubectl tidegate abort {} --reason \"{reason}\"",
            shop::NAME
        ))?;
        let kubeconfig = self.kubeconfig.as_os_str().to_owned();
        let words = [
            "kubectl-tidegate",
            "abort",
            shop::NAME,
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

    /// Shows the Rollout until it is as wanted.
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
            let rollout = self.shop.rollout().await?;
            let status = rollout.status.clone().unwrap_or_default();
            let seconds = stopwatch.elapsed().as_secs_f64();
            if status.observed_generation == Some(generation) {
                // The run of a step that is over is looked at once more, for its last measurement.
                let running = status
                    .canary
                    .current_step_analysis_run_status
                    .clone()
                    .map(|run| run.name);
                for name in [analysis, running.clone()].iter().flatten() {
                    if let Some(run) = self.shop.run(name).await? {
                        screen.measurements(seconds, &rollout, &run)?;
                    }
                }
                analysis = running;
                screen.follow(seconds, &rollout)?;
                screen.live(&status, before, &self.tally())?;
                if wanted(&status) {
                    return Ok(status);
                }
            }
            let ailing = self.shop.pods_that_cannot_start().await?;
            if !ailing.is_empty() {
                return Err(StageError::PodsCannotStart(ailing));
            }
            if patience.elapsed() > PATIENCE {
                return Err(StageError::Stuck {
                    message: status.message.unwrap_or_default(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The shop's Rollout names the alert that aborts it.
fn listen_for_the_alert(document: &mut Value) {
    let is_rollout = document.get("kind").and_then(Value::as_str) == Some("Rollout");
    if let Some(spec) = document.get_mut("spec").filter(|_| is_rollout)
        && let Some(spec) = spec.as_object_mut()
    {
        let matcher = format!("alertname={ALERT:?}");
        spec.insert("abortOn".to_owned(), json!({"alerts": [{"matchers": [matcher]}]}));
    }
}
