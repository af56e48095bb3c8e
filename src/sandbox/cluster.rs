//! A whole cluster in this process: API server, controllers, nodes, an ingress data plane with real sockets and a
//! real Prometheus that scrapes the pods. What runs in it beyond that is up to whoever starts it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::api::ApiResource;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::api_server::ApiServer;
use super::api_server::http::HttpServer;
use super::controllers;
use super::dataplane::Delays;
use super::dataplane::proxy::Proxy;
use super::pods::app::Sockets;
use super::pods::{self, Addresses, Nodes};
use super::prometheus::{self, Prometheus, follow_pods};
use super::rng::Rng;
use crate::api::crd;
use crate::api::names::{GROUP, VERSION};
use crate::clock::Clock;

const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
const POD_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Prometheus(#[from] prometheus::Error),
    #[error("cannot listen on 127.0.0.1")]
    Listen(#[from] io::Error),
    #[error("cannot install the CustomResourceDefinitions: {0}")]
    Crds(String),
}

/// How the cluster is set up.
#[derive(Debug)]
pub struct Setup {
    /// How long the data plane takes to follow a change of each kind of object.
    pub delays: Delays,
    /// Of the pods.
    pub addresses: Addresses,
    pub seed: u64,
}

/// A running cluster; dropping it stops everything.
pub struct Cluster {
    pub server: ApiServer,
    pub proxy: Arc<Proxy>,
    /// The way in for requests.
    pub ingress: SocketAddr,
    pub prometheus: Prometheus,
    /// The API server for kubectl and other processes.
    pub http: HttpServer,
    _tasks: JoinSet<()>,
}

/// API server and controllers alone: nothing runs the pods.
pub struct ControlPlane {
    pub server: ApiServer,
    pub http: HttpServer,
    tasks: JoinSet<()>,
}

impl ControlPlane {
    pub async fn start(seed: u64) -> Result<Self, ClusterError> {
        let clock = Clock::System;
        let server = ApiServer::new(seed, clock.clone());
        install_crds(&server)?;
        let http = HttpServer::start(server.clone(), loopback()).await?;
        let mut tasks = JoinSet::new();
        let client = server.client("controllers");
        tasks.spawn(controllers::run(client, clock, Rng::new(seed), owned_kinds()));
        Ok(ControlPlane { server, http, tasks })
    }
}

impl Cluster {
    pub async fn start(setup: Setup) -> Result<Self, ClusterError> {
        let ControlPlane {
            server,
            http,
            mut tasks,
        } = ControlPlane::start(setup.seed).await?;
        let clock = Clock::System;
        let prometheus = Prometheus::start(SCRAPE_INTERVAL).await?;
        let listener = TcpListener::bind(loopback()).await?;
        let ingress = listener.local_addr()?;
        let proxy = Arc::new(Proxy::new(clock.clone(), setup.delays, POD_TIMEOUT));

        let nodes = Nodes::new(server.client("nodes"), setup.addresses, Sockets::default());
        tasks.spawn(pods::run(nodes, clock));
        tasks.spawn(Arc::clone(&proxy).serve(listener));
        let (follower, follows) = (Arc::clone(&proxy), server.client("data-plane"));
        tasks.spawn(async move { follower.follow(follows).await });
        let (scraper, targets) = (server.client("prometheus"), prometheus.targets_file());
        tasks.spawn(async move {
            if let Err(error) = follow_pods(scraper, targets).await {
                tracing::error!(%error, "Prometheus no longer learns of pods");
            }
        });
        Ok(Cluster {
            server,
            proxy,
            ingress,
            prometheus,
            http,
            _tasks: tasks,
        })
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn install_crds(server: &ApiServer) -> Result<(), ClusterError> {
    let crds = crd::all().map_err(|error| ClusterError::Crds(error.to_string()))?;
    for definition in crds {
        server
            .install_crd(definition)
            .map_err(|refusal| ClusterError::Crds(format!("{refusal:?}")))?;
    }
    Ok(())
}

/// Kinds beyond the built-in ones whose objects go with their owners.
fn owned_kinds() -> Vec<ApiResource> {
    let custom = |kind: &str, plural: &str| ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    vec![
        custom("Rollout", "rollouts"),
        custom("AnalysisRun", "analysisruns"),
        custom("RolloutCommand", "rolloutcommands"),
        super::resource::ingresses(),
        super::resource::config_maps(),
    ]
}
