//! An open-loop load generator: requests leave on a fixed schedule whatever becomes of the earlier ones, and latency
//! counts from the time a request was due, so a stall is not hidden by the requests it held up.
//!
//! Three outcomes: **ok**, **error** (a pod itself answered with a 5xx) and **lost** (no pod answered). A pod is known
//! by the headers of the demo application.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::dataplane::{LOST_HEADER, LostReason};
use super::pods::app::{POD_HEADER, VERSION_HEADER};
use crate::clock::Stopwatch;

/// What to send where.
#[derive(Clone, Debug)]
pub struct Load {
    /// The data plane.
    pub target: SocketAddr,
    pub host: String,
    pub path: String,
    pub requests_per_second: u32,
    /// Requests in flight at most; those due beyond wait, and their waiting counts.
    pub connections: usize,
    pub timeout: Duration,
}

/// What became of the requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub ok: u64,
    pub errors: u64,
    /// By reason.
    pub lost: BTreeMap<String, u64>,
    pub versions: BTreeMap<String, VersionTally>,
    /// Requests by pod that answered.
    pub pods: BTreeMap<String, u64>,
}

/// What pods of one version answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionTally {
    pub requests: u64,
    pub errors: u64,
    /// Answers by latency in milliseconds.
    pub latency_ms: BTreeMap<u64, u64>,
}

impl Tally {
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    fn record(&mut self, outcome: Outcome, latency: Duration) {
        let (pod, version, is_error) = match outcome {
            Outcome::Lost(reason) => {
                *self.lost.entry(reason).or_default() += 1;
                return;
            }
            Outcome::Answered {
                pod,
                version,
                is_error,
            } => (pod, version, is_error),
        };
        *if is_error { &mut self.errors } else { &mut self.ok } += 1;
        *self.pods.entry(pod).or_default() += 1;
        let tally = self.versions.entry(version).or_default();
        tally.requests += 1;
        tally.errors += u64::from(is_error);
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        *tally.latency_ms.entry(millis).or_default() += 1;
    }
}

impl VersionTally {
    /// The latency that this share of the answers did not exceed; none before the first answer.
    pub fn latency_quantile_ms(&self, quantile: f64) -> Option<u64> {
        let rank = (quantile * self.requests as f64).ceil() as u64;
        let mut seen = 0;
        self.latency_ms.iter().find_map(|(millis, count)| {
            seen += count;
            (seen >= rank).then_some(*millis)
        })
    }
}

/// A load under way; dropping it stops it at once.
pub struct LoadGenerator {
    tally: Arc<Mutex<Tally>>,
    stopping: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl LoadGenerator {
    pub fn start(load: Load) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stopping = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(generate(
            Arc::new(load),
            Arc::clone(&tally),
            Arc::clone(&stopping),
        ));
        LoadGenerator {
            tally,
            stopping,
            task,
        }
    }

    /// What became of the requests so far; those in flight are sent and nothing else yet.
    pub fn snapshot(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Sends no more, waits for what is in flight and reports.
    pub async fn stop(mut self) -> Tally {
        self.stopping.store(true, Ordering::Relaxed);
        // The task is never cancelled before it has ended; a panic in it would show as sent but unanswered requests.
        let _ = (&mut self.task).await;
        self.snapshot()
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn generate(load: Arc<Load>, tally: Arc<Mutex<Tally>>, stopping: Arc<AtomicBool>) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, String> = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .set_host(false)
        .build(connector);
    let free = Arc::new(Semaphore::new(load.connections));
    let stopwatch = Stopwatch::start();
    let between = Duration::from_secs(1) / load.requests_per_second.max(1);
    let mut due = Duration::ZERO;
    let mut in_flight = JoinSet::new();
    while !stopping.load(Ordering::Relaxed) {
        tokio::time::sleep(stopwatch.left_of(due)).await;
        while in_flight.try_join_next().is_some() {}
        lock(&tally).sent += 1;
        let (load, client, tally) = (Arc::clone(&load), client.clone(), Arc::clone(&tally));
        let free = Arc::clone(&free);
        in_flight.spawn(async move {
            let Ok(_permit) = free.acquire().await else { return };
            let outcome = send(&client, &load).await;
            lock(&tally).record(outcome, stopwatch.elapsed().saturating_sub(due));
        });
        due += between;
    }
    while in_flight.join_next().await.is_some() {}
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered {
        pod: String,
        version: String,
        is_error: bool,
    },
    Lost(String),
}

async fn send(client: &Client<HttpConnector, String>, load: &Load) -> Outcome {
    let uri = format!("http://{}{}", load.target, load.path);
    // No proxy may send it a second time, as it may a GET whose connection broke.
    let request = Request::post(uri).header(HOST, &load.host).body(String::new());
    let lost = |reason: LostReason| Outcome::Lost(reason.as_str().to_owned());
    let Ok(request) = request else {
        return Outcome::Lost("invalid-request".to_owned());
    };
    let exchange = async {
        let response = client.request(request).await.map_err(|error| {
            lost(if error.is_connect() {
                LostReason::Refused
            } else {
                LostReason::Reset
            })
        })?;
        let outcome = classify(response.status(), response.headers());
        // An answer that breaks off is none.
        response
            .into_body()
            .collect()
            .await
            .map_err(|_| lost(LostReason::Reset))?;
        Ok(outcome)
    };
    match tokio::time::timeout(load.timeout, exchange).await {
        Err(_) => lost(LostReason::Timeout),
        Ok(Ok(outcome) | Err(outcome)) => outcome,
    }
}

/// An answer that no pod has signed was given by the data plane: that request is lost, whatever the status.
fn classify(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    match text(POD_HEADER) {
        Some(pod) => Outcome::Answered {
            pod,
            version: text(VERSION_HEADER).unwrap_or_default(),
            is_error: status.is_server_error(),
        },
        None => Outcome::Lost(text(LOST_HEADER).unwrap_or_else(|| format!("status-{}", status.as_u16()))),
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Outcome {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        classify(StatusCode::from_u16(status).unwrap(), &headers)
    }

    fn answered(version: &str, is_error: bool) -> Outcome {
        Outcome::Answered {
            pod: "a".to_owned(),
            version: version.to_owned(),
            is_error,
        }
    }

    #[test]
    fn a_pods_own_500_is_an_error_and_a_503_of_the_data_plane_is_lost() {
        assert_eq!(
            answer(500, &[("x-pod", "a"), ("x-version", "v1")]),
            answered("v1", true)
        );
        assert_eq!(
            answer(200, &[("x-pod", "a"), ("x-version", "v1")]),
            answered("v1", false)
        );
        assert_eq!(
            answer(503, &[("x-sandbox-lost", "no-endpoint")]),
            Outcome::Lost("no-endpoint".to_owned())
        );
        assert_eq!(answer(502, &[]), Outcome::Lost("status-502".to_owned()));
    }

    #[test]
    fn the_tally_adds_up() {
        let mut tally = Tally::default();
        for millis in 1..=100 {
            tally.record(answered("v1", millis > 90), Duration::from_millis(millis));
        }
        tally.record(Outcome::Lost("refused".to_owned()), Duration::ZERO);
        assert_eq!((tally.ok, tally.errors, tally.lost_total()), (90, 10, 1));
        let version = &tally.versions["v1"];
        assert_eq!((version.requests, version.errors), (100, 10));
        assert_eq!(version.latency_quantile_ms(0.95), Some(95));
        assert_eq!(VersionTally::default().latency_quantile_ms(0.95), None);
    }
}
