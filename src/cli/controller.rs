//! `tidegate controller`: runs the controller against a cluster until SIGTERM or SIGINT.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use super::connect::{self, ConnectError, ConnectOptions};
use crate::api::address::AddressPolicy;
use crate::client::Api;
use crate::clock::Clock;
use crate::controllers::context::Context;
use crate::controllers::run::{Handle, start};
use crate::providers::Prometheus;
use crate::server::{Shown, serve};

/// Longer than the API server lets a watch be silent, so that only a dead connection is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

#[derive(Args, Clone, Debug)]
pub struct ControllerArguments {
    /// Namespace to look after; repeat for more; all of them unless given.
    #[arg(long, env = "TIDEGATE_NAMESPACE", value_delimiter = ',')]
    namespace: Vec<String>,
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
    #[arg(long, env = "TIDEGATE_PROMETHEUS_URL")]
    prometheus_url: Option<String>,
    /// Let metrics be read from loopback addresses.
    #[arg(long, env = "TIDEGATE_ALLOW_LOOPBACK_METRICS")]
    allow_loopback_metrics: bool,
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// error, warn, info, debug or trace, or directives such as tidegate=debug,kube=warn.
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", default_value = "info,kube_client=error")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Error)]
pub enum ControllerError {
    #[error("--log-level {0:?} is neither a level nor a list of directives")]
    LogLevel(String),
    #[error("cannot connect to the cluster")]
    Connect(#[from] ConnectError),
    #[error("cannot build the Prometheus client")]
    Prometheus(#[from] crate::providers::prometheus::BuildError),
    #[error("cannot serve on --metrics-address {address}")]
    Serve {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot set up the process")]
    Process(#[source] std::io::Error),
}

pub fn run(arguments: ControllerArguments) -> Result<(), ControllerError> {
    start_logging(&arguments)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        ?arguments,
        "tidegate controller starts"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ControllerError::Process)?;
    let ended = runtime.block_on(control(arguments));
    // A name lookup in flight would hold up the end of the process.
    runtime.shutdown_background();
    ended
}

async fn control(arguments: ControllerArguments) -> Result<(), ControllerError> {
    // Before anything that could take long, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Process)?;
    let address = arguments.metrics_address;
    let controller = begin(arguments).await?;
    let shown = Shown {
        metrics: Arc::clone(&controller.context.metrics),
        ready: controller.readiness(),
    };
    let serving = serve(
        address,
        shown,
        |address| tracing::info!(%address, "serving metrics"),
    );
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        served = serving => served.map_err(|source| ControllerError::Serve { address, source }),
    };
    tracing::info!("stopping");
    controller.stop().await;
    tracing::info!("stopped");
    ended
}

async fn begin(arguments: ControllerArguments) -> Result<Handle, ControllerError> {
    let options = ConnectOptions {
        kubeconfig: arguments.kubeconfig,
        context: arguments.context,
        namespace: None,
    };
    let mut connection = connect::load(&options).await?;
    connection.config.read_timeout = Some(READ_TIMEOUT);
    let api = Api::new(connection.client()?);
    let policy = AddressPolicy {
        allow_loopback: arguments.allow_loopback_metrics,
    };
    let provider = Prometheus::new(arguments.prometheus_url, policy)?;
    let context = Context::new(
        api,
        Clock::System,
        Arc::new(crate::plan::plan),
        Arc::new(provider),
    );
    let namespaces: BTreeSet<String> = arguments.namespace.into_iter().collect();
    Ok(start(context, namespaces))
}

fn start_logging(arguments: &ControllerArguments) -> Result<(), ControllerError> {
    let level = &arguments.log_level;
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(level)
        .map_err(|_| ControllerError::LogLevel(level.clone()))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
