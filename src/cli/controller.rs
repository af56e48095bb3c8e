//! `tidegate controller`: runs the controller against a cluster until SIGTERM or SIGINT.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::alerts::{AlertArguments, AlertError};
use super::connect::{self, ConnectError, ConnectOptions};
use super::target::{parse_name, parse_namespace};
use crate::api;
use crate::api::address::{AddressError, AddressPolicy, check_address};
use crate::api::resource::ObjectKey;
use crate::api::selector::LabelSelector;
use crate::client::Api;
use crate::clock::Clock;
use crate::controllers::alerts::Alerts;
use crate::controllers::context::Context;
use crate::controllers::data_planes::DataPlanes;
use crate::controllers::lease::campaign::LeaseSettings;
use crate::controllers::lease::election::{Timing, TimingError};
use crate::controllers::run::{Handle, Settings, start};
use crate::providers::{DataPlaneReader, Prometheus};
use crate::receiver::{self, Listening, ReceiverError};
use crate::server::{Shown, serve};

/// Longer than the API server lets a watch be silent, so that only a dead connection is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(330);
/// Name of the Lease, or what it begins with.
const LEASE: &str = "tidegate";

#[derive(Args, Clone, Debug)]
pub struct ControllerArguments {
    /// Namespace to look after; repeat for more; all of them unless given.
    #[arg(long, alias = "namespace", env = "TIDEGATE_NAMESPACES", value_delimiter = ',',
          value_parser = parse_namespace)]
    namespaces: Vec<String>,
    /// Label selector of the Rollouts to look after, as in kubectl; all of them unless given.
    #[arg(long, env = "TIDEGATE_SELECTOR", value_parser = LabelSelector::parse, default_value = "")]
    selector: LabelSelector,
    /// Path of the kubeconfig; the service account of the pod unless there is one.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// Where to serve /metrics, /healthz and /readyz.
    #[arg(long, env = "TIDEGATE_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// Prometheus for metrics that name no address.
    // Until it is checked it may carry a password, which neither --help nor an error of the parser may show.
    #[arg(long, env = "TIDEGATE_PROMETHEUS_URL", hide_env_values = true)]
    prometheus_url: Option<String>,
    /// Work only while holding a Lease, so that several replicas can run.
    #[arg(long, env = "TIDEGATE_LEADER_ELECT", value_parser = BoolishValueParser::new(),
          default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    leader_elect: bool,
    /// Namespace of the Lease; that of the pod, or else of the kubeconfig's context, unless given.
    #[arg(long, env = "TIDEGATE_LEASE_NAMESPACE", value_parser = parse_namespace)]
    lease_namespace: Option<String>,
    /// Name of the Lease; tidegate, with a hash of --namespaces and --selector if there are any, unless given. Give it
    /// where these may change: replicas of the old name and of the new would lead at the same time.
    #[arg(long, env = "TIDEGATE_LEASE_NAME", value_parser = parse_name)]
    lease_name: Option<String>,
    /// Without news of the leader for so long, another replica takes over; whole seconds.
    #[arg(long, env = "TIDEGATE_LEASE_DURATION", value_parser = parse_duration, default_value = "15s")]
    lease_duration: Duration,
    /// A leader that could not renew for so long stops writing.
    #[arg(long, env = "TIDEGATE_RENEW_DEADLINE", value_parser = parse_duration, default_value = "10s")]
    renew_deadline: Duration,
    /// Between two renewals.
    #[arg(long, env = "TIDEGATE_RETRY_PERIOD", value_parser = parse_duration, default_value = "2s")]
    retry_period: Duration,
    /// Let metrics be read from loopback addresses.
    #[arg(long, env = "TIDEGATE_ALLOW_LOOPBACK_METRICS", value_parser = BoolishValueParser::new())]
    allow_loopback_metrics: bool,
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// error, warn, info, debug or trace, or directives such as tidegate=debug,kube=warn.
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", default_value = "info,kube_client=error")]
    log_level: String,
    #[command(flatten)]
    alerts: AlertArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Error)]
pub enum ControllerError {
    #[error(
        "--log-level {0:?} is neither a level (error, warn, info, debug, trace) nor directives such as \
         tidegate=debug,kube=warn"
    )]
    LogLevel(String),
    #[error(transparent)]
    Timing(#[from] TimingError),
    #[error(transparent)]
    Alerts(#[from] AlertError),
    #[error("cannot receive alerts on --alert-address")]
    Receiver(#[from] ReceiverError),
    #[error("--prometheus-url cannot be used")]
    PrometheusUrl(#[source] AddressError),
    #[error("cannot connect to the cluster")]
    Connect(#[from] ConnectError),
    #[error("cannot build the HTTP clients")]
    Providers(#[from] crate::providers::BuildError),
    #[error("cannot serve on --metrics-address {address}")]
    Serve {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the controller's work ended although nobody stopped it; the log says more")]
    Ended(#[source] Option<tokio::task::JoinError>),
    #[error("cannot set up the process")]
    Process(#[source] std::io::Error),
}

pub fn run(arguments: ControllerArguments) -> Result<(), ControllerError> {
    let policy = AddressPolicy {
        allow_loopback: arguments.allow_loopback_metrics,
        api_server: std::env::var("KUBERNETES_SERVICE_HOST")
            .ok()
            .and_then(|host| host.parse().ok()),
    };
    if let Some(address) = &arguments.prometheus_url {
        check_address(address, &policy).map_err(ControllerError::PrometheusUrl)?;
    }
    arguments.timing().check()?;
    arguments.alerts.check(&policy)?;
    start_logging(&arguments)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        ?arguments,
        "tidegate controller starts"
    );
    // It waits for answers most of the time; more of them would mostly wait for one another.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(ControllerError::Process)?;
    let ended = runtime.block_on(control(arguments, policy));
    // A name lookup in flight would hold up the end of the process.
    runtime.shutdown_background();
    ended
}

async fn control(arguments: ControllerArguments, policy: AddressPolicy) -> Result<(), ControllerError> {
    // Before anything that could take long, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Process)?;
    let address = arguments.metrics_address;
    let receiver = arguments.alerts.receiver();
    let mut controller = begin(arguments, policy).await?;
    let shown = Shown {
        metrics: Arc::clone(&controller.context.metrics),
        ready: controller.readiness(),
    };
    let serving = serve(
        address,
        shown,
        |address| tracing::info!(%address, "serving metrics"),
    );
    let receiving = match receive(receiver, &controller).await {
        Ok(receiving) => receiving,
        Err(error) => {
            // It may lead already, and must not take the lead with it.
            controller.stop().await;
            return Err(error);
        }
    };
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        served = serving => served.map_err(|source| ControllerError::Serve { address, source }),
        never = receiving => never,
        ended = controller.ended() => Err(ControllerError::Ended(ended.err())),
    };
    tracing::info!("stopping");
    controller.stop().await;
    tracing::info!("stopped");
    ended
}

/// Listens for alerts at once, so that what is wrong ends the process, and serves until dropped.
async fn receive(
    settings: Option<receiver::Settings>,
    controller: &Handle,
) -> Result<impl Future<Output = Result<(), ControllerError>> + use<>, ControllerError> {
    let listening = match settings {
        Some(settings) => {
            crate::providers::install_tls();
            let context = Arc::clone(&controller.context);
            Some(Listening::begin(settings, context, controller.readiness()).await?)
        }
        None => None,
    };
    if let Some(listening) = &listening {
        let address = listening.address().map_err(ControllerError::Process)?;
        tracing::info!(alert_address = %address, "receiving alerts");
    }
    Ok(async move {
        match listening {
            Some(listening) => listening.serve().await,
            None => std::future::pending().await,
        }
        Ok(())
    })
}

async fn begin(arguments: ControllerArguments, policy: AddressPolicy) -> Result<Handle, ControllerError> {
    let options = ConnectOptions {
        kubeconfig: arguments.kubeconfig.clone(),
        context: arguments.context.clone(),
        namespace: None,
    };
    let mut connection = connect::load(&options).await?;
    connection.config.read_timeout = Some(READ_TIMEOUT);
    let mut settings = arguments.settings(&connection.config.default_namespace);
    settings.alerts = arguments.alerts.poll(policy);
    if let Some(LeaseSettings { lease, identity, .. }) = &settings.lease {
        tracing::info!(%lease, identity, "asks for the lead");
    }
    let api = Api::new(connection.client()?);
    let prometheus = Arc::new(Prometheus::new(arguments.prometheus_url, policy)?);
    let data_planes = DataPlaneReader::new(Arc::clone(&prometheus), policy)?;
    let mut context = Context::new(api, Clock::System, Arc::new(crate::plan::plan), prometheus);
    context.data_planes = DataPlanes::new(Arc::new(data_planes));
    context.alerts = arguments.alerts.are_taken().then(Alerts::default);
    Ok(start(context, settings))
}

impl ControllerArguments {
    fn timing(&self) -> Timing {
        Timing {
            lease: self.lease_duration,
            renew: self.renew_deadline,
            retry: self.retry_period,
        }
    }

    /// `namespace` is ours unless the Lease is to be elsewhere.
    fn settings(&self, namespace: &str) -> Settings {
        let namespaces: BTreeSet<String> = self.namespaces.iter().cloned().collect();
        let name = || lease_name(&namespaces, &self.selector);
        let lease = self.leader_elect.then(|| LeaseSettings {
            lease: ObjectKey::new(
                self.lease_namespace.as_deref().unwrap_or(namespace),
                self.lease_name.clone().unwrap_or_else(name),
            ),
            identity: identity(Clock::System.now()),
            timing: self.timing(),
        });
        Settings {
            namespaces,
            selector: self.selector.clone(),
            lease,
            alerts: None,
        }
    }
}

/// Replicas that share the work agree on a name; those that divide a cluster have one each.
fn lease_name(namespaces: &BTreeSet<String>, selector: &LabelSelector) -> String {
    if namespaces.is_empty() && selector.selects_all() {
        return LEASE.to_owned();
    }
    let share: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let digest = Sha256::digest(format!("{} {selector}", share.join(",")));
    let hash: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{LEASE}-{hash}")
}

/// Of this process alone: a container that restarts has its name and process id again, but not its time.
fn identity(now: DateTime<Utc>) -> String {
    let read = || std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = std::env::var("HOSTNAME").or_else(|_| read()).unwrap_or_default();
    let (host, id, time) = (host.trim(), std::process::id(), now.timestamp_micros());
    format!("{host}_{id}_{time}")
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = api::duration::Duration::parse(text).map_err(|error| error.to_string())?;
    parsed.to_chrono().to_std().map_err(|error| error.to_string())
}

fn start_logging(arguments: &ControllerArguments) -> Result<(), ControllerError> {
    let filter = parse_log_level(&arguments.log_level)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// A word that is no level would be taken for the name of a module, and everything else would fall silent.
fn parse_log_level(text: &str) -> Result<EnvFilter, ControllerError> {
    let refused = || ControllerError::LogLevel(text.to_owned());
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut directives = text.split(',').map(str::trim);
    match directives.all(|directive| directive.contains('=') || is_level(directive)) {
        true => EnvFilter::builder().parse(text).map_err(|_| refused()),
        false => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_one_share_agree_on_a_lease_and_shares_do_not_meet() {
        let name = |namespaces: &[&str], selector| {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            lease_name(&namespaces, &LabelSelector::parse(selector).unwrap())
        };
        assert_eq!(name(&[], ""), "tidegate");
        assert_eq!(name(&["shop", "bank"], "a=1"), name(&["bank", "shop"], " a = 1"));
        assert_eq!(name(&[], "a=1,b in (y,x)"), name(&[], "b in (x, y), a=1"));
        let names = [
            name(&[], ""),
            name(&["shop"], ""),
            name(&["shop", "bank"], ""),
            name(&[], "shop"),
            name(&["shop"], "a=1"),
            name(&["shop"], "a=2"),
        ];
        assert_eq!(BTreeSet::from(names.clone()).len(), names.len());
    }

    #[test]
    fn a_misspelt_level_silences_nothing() {
        for text in [
            "info",
            "ERROR",
            "off",
            "tidegate=debug,kube=warn",
            "info,kube=warn",
        ] {
            assert!(parse_log_level(text).is_ok(), "{text}");
        }
        for text in ["inof", "", "inof,kube=warn", "info,", "tidegate=inof", "tidegate"] {
            assert!(parse_log_level(text).is_err(), "{text}");
        }
    }
}
