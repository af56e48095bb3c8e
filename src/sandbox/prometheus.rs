//! A real Prometheus process that scrapes the pods, and what else it is told to. It keeps its data in a directory of its own, which goes with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Process, Program, write};

mod targets;

pub use super::process::Error;
pub use targets::follow_pods;

const PROGRAM: Program = Program {
    name: "Prometheus",
    candidates: &["prometheus"],
    variable: "PROMETHEUS",
    remedy: "install Prometheus (Debian: apt-get install prometheus; macOS: brew install prometheus; Fedora: dnf \
             install golang-github-prometheus) or set PROMETHEUS to its path",
};
/// How the names of the files begin that say what is scraped.
const TARGETS: &str = "targets";

/// Alerting rules, evaluated as often as pods are scraped, and the Alertmanager that hears what fires.
pub struct Alerting<'a> {
    /// A file of rules: `{"groups": […]}`.
    pub rules: &'a Value,
    /// The base of its HTTP API.
    pub alertmanager: &'a str,
}

impl Alerting<'_> {
    fn extend(&self, config: &mut Value, rules: &Path) {
        let address = self.alertmanager.trim_start_matches("http://");
        config["rule_files"] = json!([rules]);
        config["alerting"] = json!({"alertmanagers": [{"static_configs": [{"targets": [address]}]}]});
    }
}

/// A running Prometheus; dropping it kills the process and removes its data.
pub struct Prometheus(Process);

impl Prometheus {
    /// Starts Prometheus and waits until it answers queries. It scrapes what [`follow_pods`] writes into
    /// [`Prometheus::targets_file`].
    pub async fn start(scrape_interval: Duration) -> Result<Self, Error> {
        Self::start_with(scrape_interval, None).await
    }

    /// [`Prometheus::start`], with alerts.
    pub async fn start_alerting(scrape_interval: Duration, alerting: &Alerting<'_>) -> Result<Self, Error> {
        Self::start_with(scrape_interval, Some(alerting)).await
    }

    async fn start_with(scrape_interval: Duration, alerting: Option<&Alerting<'_>>) -> Result<Self, Error> {
        let process = Process::start(PROGRAM, |directory, address| {
            let config = directory.join("prometheus.json");
            write(&targets_file(directory), "[]")?;
            let all = directory.join(format!("{TARGETS}*.json"));
            let mut content = render_config(&all, scrape_interval);
            if let Some(alerting) = alerting {
                let rules = directory.join("rules.json");
                write(&rules, alerting.rules.to_string())?;
                alerting.extend(&mut content, &rules);
            }
            write(&config, content.to_string())?;
            Ok(vec![
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", directory.join("data").display()),
                format!("--web.listen-address={address}"),
                "--log.level=warn".to_owned(),
            ])
        });
        process.await.map(Prometheus)
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The file-based service discovery that it follows.
    pub fn targets_file(&self) -> PathBuf {
        targets_file(self.0.directory())
    }

    /// From now on it scrapes these as well.
    pub fn scrape(&self, job: &str, addresses: &[SocketAddr]) -> Result<(), Error> {
        let file = self.0.directory().join(format!("{TARGETS}-{job}.json"));
        let targets: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let content = json!([{"targets": targets, "labels": {"job": job}}]).to_string();
        write(&file, content)
    }
}

/// JSON is YAML, so nothing needs quoting by hand.
fn render_config(targets: &Path, scrape_interval: Duration) -> Value {
    let interval = format!("{}ms", scrape_interval.as_millis().max(1));
    json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [{
            "job_name": "pods",
            "file_sd_configs": [{"files": [targets], "refresh_interval": "1s"}],
        }],
    })
}

fn targets_file(directory: &Path) -> PathBuf {
    directory.join(format!("{TARGETS}.json"))
}
