//! A replica of the controller as the chart runs it, with the rights of its service account.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::alerting;
use crate::chart::Chart;
use crate::process::Process;
use crate::traefik::get;
use crate::world::World;

pub struct Replica {
    pub name: String,
    pub process: Process,
    metrics: SocketAddr,
}

impl Replica {
    /// Starts one of this chart that serves its metrics at this port, and receives alerts, if it does, at one beside it.
    pub async fn start(world: &World, chart: &Chart, name: &str, port: u16) -> Self {
        let token = chart.token(&world.client).await;
        let kubeconfig = world.control_plane.kubeconfig(name, &token);
        let metrics = SocketAddr::from(([127, 0, 0, 1], port));
        let mut arguments = chart.arguments(&metrics.to_string(), &kubeconfig);
        arguments.extend([
            format!("--prometheus-url={}", world.prometheus.url()),
            "--allow-loopback-metrics".to_owned(),
        ]);
        if chart.receives_alerts() {
            let receiver = port + alerting::RECEIVER_BESIDE;
            arguments.extend(alerting::arguments(
                &world.directory,
                &world.alertmanager,
                receiver,
            ));
        }
        // The one that is released, if it was built.
        let released = std::env::var_os("TIDEGATE_CONTROLLER").map(PathBuf::from);
        let program = released.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into());
        let mut process = Process::start(name, &program, arguments, &[], &world.directory);
        let ready = format!("http://{metrics}/readyz");
        process.await_ready(async || get(&ready).await.is_some()).await;
        Replica {
            name: name.to_owned(),
            process,
            metrics,
        }
    }

    /// Whether a probe of its pod would succeed.
    pub async fn answers(&self, path: &str) -> bool {
        get(&format!("http://{}{path}", self.metrics)).await.is_some()
    }

    /// Whether it says so.
    pub async fn leads(&self) -> bool {
        let metrics = get(&format!("http://{}/metrics", self.metrics)).await;
        metrics.is_some_and(|metrics| metrics.lines().any(|line| line == "tidegate_leader 1"))
    }
}
