//! A real Prometheus process that scrapes the pods, and what else it is told to. It keeps its data in a directory of its own, which goes with it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::process::{Child, Command};

mod targets;

pub use targets::follow_pods;

/// Names another executable than the `prometheus` on PATH.
const PROGRAM_VARIABLE: &str = "PROMETHEUS";
/// How the names of the files begin that say what is scraped.
const TARGETS: &str = "targets";
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);
/// How long a killed process may take to be gone before its directory is left behind.
const GONE_POLLS: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{program} was not found: install Prometheus (Debian: apt-get install prometheus; macOS: brew install \
         prometheus; Fedora: dnf install golang-github-prometheus) or set PROMETHEUS to its path"
    )]
    Missing { program: String },
    #[error("cannot {verb} {}", path.display())]
    File {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no free port on 127.0.0.1 for Prometheus")]
    Port(#[source] io::Error),
    #[error("Prometheus did not become ready: {log}")]
    NotReady { log: String },
}

/// A running Prometheus; dropping it kills the process and removes its data.
pub struct Prometheus {
    address: SocketAddr,
    directory: PathBuf,
    process: Child,
}

impl Prometheus {
    /// Starts Prometheus and waits until it answers queries. It scrapes what [`follow_pods`] writes into
    /// [`Prometheus::targets_file`].
    pub async fn start(scrape_interval: Duration) -> Result<Self, Error> {
        let address = free_address().map_err(Error::Port)?;
        let name = format!("tidegate-prometheus-{}-{}", std::process::id(), address.port());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).map_err(file_error("create", &directory))?;
        let program = std::env::var(PROGRAM_VARIABLE).unwrap_or_else(|_| "prometheus".to_owned());
        let process = launch(program, &directory, address, scrape_interval);
        let process = process.inspect_err(|_| drop(std::fs::remove_dir_all(&directory)))?;
        let mut prometheus = Prometheus {
            address,
            directory,
            process,
        };
        prometheus.wait_until_ready().await?;
        Ok(prometheus)
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file-based service discovery that it follows.
    pub fn targets_file(&self) -> PathBuf {
        targets_file(&self.directory)
    }

    /// From now on it scrapes these as well.
    pub fn scrape(&self, job: &str, addresses: &[SocketAddr]) -> Result<(), Error> {
        let file = self.directory.join(format!("{TARGETS}-{job}.json"));
        let targets: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let content = json!([{"targets": targets, "labels": {"job": job}}]).to_string();
        std::fs::write(&file, content).map_err(file_error("write", &file))
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let Ok(uri) = format!("{}/-/ready", self.url()).parse::<http::Uri>() else {
            return Err(self.not_ready());
        };
        let poll = async {
            loop {
                let answer = client.get(uri.clone()).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return true;
                }
                if !matches!(self.process.try_wait(), Ok(None)) {
                    return false;
                }
                tokio::time::sleep(READY_POLL).await;
            }
        };
        match tokio::time::timeout(READY_WITHIN, poll).await {
            Ok(true) => Ok(()),
            _ => Err(self.not_ready()),
        }
    }

    /// Its last words.
    fn not_ready(&self) -> Error {
        let log = std::fs::read_to_string(log_file(&self.directory)).unwrap_or_default();
        Error::NotReady {
            log: log.lines().last().unwrap_or("it said nothing").to_owned(),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        for _ in 0..GONE_POLLS {
            if !matches!(self.process.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn launch(
    program: String,
    directory: &Path,
    address: SocketAddr,
    scrape_interval: Duration,
) -> Result<Child, Error> {
    let config = directory.join("prometheus.json");
    let targets = targets_file(directory);
    std::fs::write(&targets, "[]").map_err(file_error("write", &targets))?;
    let all = directory.join(format!("{TARGETS}*.json"));
    std::fs::write(&config, render_config(&all, scrape_interval)).map_err(file_error("write", &config))?;
    let log_path = log_file(directory);
    let log = std::fs::File::create(&log_path).map_err(file_error("create", &log_path))?;
    Command::new(&program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=warn")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { program },
            _ => Error::File {
                verb: "run",
                path: program.into(),
                source,
            },
        })
}

/// JSON is YAML, so nothing needs quoting by hand.
fn render_config(targets: &Path, scrape_interval: Duration) -> String {
    let interval = format!("{}ms", scrape_interval.as_millis().max(1));
    json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [{
            "job_name": "pods",
            "file_sd_configs": [{"files": [targets], "refresh_interval": "1s"}],
        }],
    })
    .to_string()
}

fn targets_file(directory: &Path) -> PathBuf {
    directory.join(format!("{TARGETS}.json"))
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("prometheus.log")
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { verb, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_prometheus_is_told_in_one_line_with_the_remedy() {
        let directory = std::env::temp_dir().join(format!("tidegate-no-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let error = launch("no-such-prometheus".to_owned(), &directory, address, READY_POLL)
            .err()
            .unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let message = error.to_string();
        assert!(
            message.starts_with("no-such-prometheus was not found: install Prometheus (Debian: apt-get"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1);
    }
}
