//! Everything the scenarios share: the control plane, Traefiks at two throttles, Prometheus and Alertmanager, nodes that
//! run the pods, and two replicas of the controller.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tidegate::clock::Clock;
use tidegate::sandbox::alertmanager::Alertmanager;
use tidegate::sandbox::pods::app::Sockets;
use tidegate::sandbox::pods::{self, Addresses, Nodes};
use tidegate::sandbox::prometheus::{Alerting, Prometheus, follow_pods};
use tokio::task::JoinSet;

use crate::alerting;
use crate::apply::apply;
use crate::chart::{CLUSTER_WIDE, Chart};
use crate::control_plane::{ControlPlane, client};
use crate::tools::Tools;
use crate::traefik::{self, Dialect, Traefik};

/// Numbers of the Traefiks that scenarios start for themselves.
const OWN_TRAEFIKS: [u8; 5] = [10, 11, 12, 13, 14];
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// How seldom a Traefik takes up changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// 100 ms.
    Quick,
    /// 2 s, its default.
    Default,
}

impl Throttle {
    fn duration(self) -> Duration {
        match self {
            Throttle::Quick => Duration::from_millis(100),
            Throttle::Default => Duration::from_secs(2),
        }
    }

    /// Of the Gateways that it serves.
    pub fn gateway_class(self) -> &'static str {
        match self {
            Throttle::Quick => "quick",
            Throttle::Default => "default",
        }
    }

    /// Longer than it takes to follow a change: a reload may come 300 ms after the throttle.
    pub fn settle_seconds(self) -> u64 {
        self.duration().as_secs() + 1
    }
}

pub struct World {
    pub client: kube::Client,
    pub control_plane: ControlPlane,
    pub prometheus: Prometheus,
    pub alertmanager: Alertmanager,
    pub chart: Chart,
    quick: [Traefik; 2],
    default: [Traefik; 2],
    pub tools: Tools,
    /// Where logs go.
    pub directory: PathBuf,
    _tasks: JoinSet<()>,
}

impl World {
    pub async fn set_up(tools: Tools, directory: &Path) -> Self {
        let control_plane = ControlPlane::start(&tools.control_plane, directory).await;
        let admin = control_plane.admin();
        let client = client(&admin, "test").await;
        let chart = Chart::install(&client, &tools, &CLUSTER_WIDE).await;
        install(&client, &tools).await;
        let alertmanager = alerting::start(directory).await;
        let alerting = Alerting {
            rules: &alerting::rules(),
            alertmanager: &alertmanager.url(),
        };
        let prometheus = Prometheus::start_alerting(SCRAPE_INTERVAL, &alerting)
            .await
            .unwrap();
        let traefik = async |dialect, throttle: Throttle, number| {
            let program = &tools.traefik;
            let (duration, class) = (throttle.duration(), throttle.gateway_class());
            Traefik::start(program, &admin, dialect, duration, class, number, directory).await
        };
        let quick = [
            traefik(Dialect::Nginx, Throttle::Quick, 2).await,
            traefik(Dialect::GatewayApi, Throttle::Quick, 3).await,
        ];
        let default = [
            traefik(Dialect::Nginx, Throttle::Default, 4).await,
            traefik(Dialect::GatewayApi, Throttle::Default, 5).await,
        ];
        let apis = [&quick, &default]
            .into_iter()
            .flatten()
            .map(|traefik| traefik.api);
        let apis = apis.chain(OWN_TRAEFIKS.map(traefik::api_at));
        prometheus.scrape("traefik", &apis.collect::<Vec<_>>()).unwrap();
        let mut tasks = JoinSet::new();
        let addresses = Addresses::starting_at(Ipv4Addr::new(10, 77, 1, 1));
        let nodes = Nodes::new(self::client(&admin, "nodes").await, addresses, Sockets::default());
        tasks.spawn(pods::run(nodes, Clock::System));
        let (scraper, targets) = (self::client(&admin, "scraper").await, prometheus.targets_file());
        tasks.spawn(async move { follow_pods(scraper, targets).await.unwrap() });
        World {
            client,
            control_plane,
            prometheus,
            alertmanager,
            chart,
            quick,
            default,
            tools,
            directory: directory.to_owned(),
            _tasks: tasks,
        }
    }

    pub fn traefik(&self, dialect: Dialect, throttle: Throttle) -> &Traefik {
        let [nginx, gateway_api] = match throttle {
            Throttle::Quick => &self.quick,
            Throttle::Default => &self.default,
        };
        match dialect {
            Dialect::Nginx => nginx,
            Dialect::GatewayApi => gateway_api,
        }
    }

    /// A Traefik of one scenario, which may hinder it as it likes; it reads what that of this throttle reads.
    pub async fn start_traefik(
        &self,
        kubeconfig: &Path,
        dialect: Dialect,
        throttle: Throttle,
        number: u8,
    ) -> Traefik {
        assert!(OWN_TRAEFIKS.contains(&number));
        let (duration, class) = (throttle.duration(), throttle.gateway_class());
        let program = &self.tools.traefik;
        Traefik::start(
            program,
            kubeconfig,
            dialect,
            duration,
            class,
            number,
            &self.directory,
        )
        .await
    }
}

/// The Gateway API, and what a cluster has before anybody uses it.
async fn install(client: &kube::Client, tools: &Tools) {
    for definition in tools.gateway_api_crds() {
        apply(client, definition).await;
    }
    apply(
        client,
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "sandbox"}}),
    )
    .await;
    for throttle in [Throttle::Quick, Throttle::Default] {
        let name = throttle.gateway_class();
        let class = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": name, "labels": {"traefik": name}},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        });
        apply(client, class).await;
    }
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    });
    apply(client, class).await;
}
