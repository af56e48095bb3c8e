//! A real Traefik that routes the requests of the tests, by Ingresses in the nginx dialect or by HTTPRoutes. Its own
//! retries are off: they hide losses from clients, which happened all the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::process::Process;

/// What it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    Nginx,
    GatewayApi,
}

pub struct Traefik {
    pub dialect: Dialect,
    /// Where it takes requests.
    pub entry: SocketAddr,
    /// Where its API and its metrics are.
    pub api: SocketAddr,
    process: Process,
}

impl Traefik {
    /// Starts one that takes up changes at most once per `throttle`, at an address that ends in `number`; it serves
    /// the Gateways of one class.
    pub async fn start(
        program: &Path,
        kubeconfig: &Path,
        dialect: Dialect,
        throttle: Duration,
        gateway_class: &str,
        number: u8,
        directory: &Path,
    ) -> Self {
        let (entry, api) = (at(number, 80), api_at(number));
        let provider = match dialect {
            Dialect::Nginx => vec![
                "--providers.kubernetesingressnginx".to_owned(),
                "--providers.kubernetesingressnginx.proxynextupstream=off".to_owned(),
            ],
            Dialect::GatewayApi => vec![
                "--providers.kubernetesgateway".to_owned(),
                format!("--providers.kubernetesgateway.labelselector=traefik={gateway_class}"),
            ],
        };
        let rest = [
            format!("--entrypoints.web.address={entry}"),
            format!("--entrypoints.traefik.address={api}"),
            format!("--providers.providersthrottleduration={}ms", throttle.as_millis()),
            "--api.insecure=true".to_owned(),
            "--api.dashboard=false".to_owned(),
            "--metrics.prometheus=true".to_owned(),
            "--ping=true".to_owned(),
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            "--log.level=INFO".to_owned(),
        ];
        let mut process = Process::start(
            &format!("traefik-{number}"),
            program,
            provider.into_iter().chain(rest),
            &[("KUBECONFIG", kubeconfig)],
            directory,
        );
        process
            .await_ready(async || get(&format!("http://{api}/ping")).await.is_some())
            .await;
        Traefik {
            dialect,
            entry,
            api,
            process,
        }
    }

    /// The base of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// It takes up no more changes, and answers no request, or goes on.
    pub async fn freeze(&self, frozen: bool) {
        self.process.freeze(frozen).await;
    }
}

/// Where the API of the one of this number is.
pub fn api_at(number: u8) -> SocketAddr {
    at(number, 8080)
}

fn at(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 77, 0, number), port))
}

/// The body of an answer 200.
pub async fn get(url: &str) -> Option<String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let answer = client.get(url).send().await.ok()?;
    match answer.status().as_u16() {
        200 => answer.text().await.ok(),
        _ => None,
    }
}
