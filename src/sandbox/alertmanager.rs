//! A real Alertmanager process: alerts are given to it as Prometheus would, and it sends them on, or is asked for them.

use http::{Method, Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::process::{Process, Program, write};

pub use super::process::Error;

const PROGRAM: Program = Program {
    name: "Alertmanager",
    candidates: &["alertmanager", "prometheus-alertmanager"],
    variable: "ALERTMANAGER",
    remedy: "install Alertmanager (Debian: apt-get install prometheus-alertmanager; Fedora: dnf install \
             golang-github-prometheus-alertmanager) or set ALERTMANAGER to its path",
};

/// A running Alertmanager; dropping it kills the process and removes its data.
pub struct Alertmanager(Process);

impl Alertmanager {
    /// Starts it with a configuration, as in its own file, and waits until it is ready. It is alone: no cluster.
    pub async fn start(config: &Value) -> Result<Self, Error> {
        let process = Process::start(PROGRAM, |directory, address| {
            let file = directory.join("alertmanager.json");
            write(&file, config.to_string())?;
            Ok(vec![
                format!("--config.file={}", file.display()),
                format!("--storage.path={}", directory.join("data").display()),
                format!("--web.listen-address={address}"),
                "--cluster.listen-address=".to_owned(),
            ])
        });
        process.await.map(Alertmanager)
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Lets an alert fire from now on; says whether it was taken.
    pub async fn fire(&self, labels: &Value, summary: &str) -> bool {
        let alerts = json!([{"labels": labels, "annotations": {"summary": summary}}]);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/api/v2/alerts", self.url()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::from(alerts.to_string()));
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        match request {
            Ok(request) => client
                .request(request)
                .await
                .is_ok_and(|answer| answer.status().is_success()),
            Err(_) => false,
        }
    }
}
