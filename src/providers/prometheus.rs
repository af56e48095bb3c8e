//! Prometheus and whatever speaks its HTTP API: instant queries.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use reqwest::{Client, StatusCode};
use url::Url;

use super::answer::{read_answer, read_refusal};
use super::dial::{BuildError, Clients, read_body, redirection};
use super::{Limits, Provider};
use crate::api::address::AddressPolicy;
use crate::api::failure::with_causes;
use crate::api::measure::{MeasureTask, Outcome};

const MAX_BODY_BYTES: usize = 1_048_576;
/// Waits before another attempt at what the server calls temporary.
const BACKOFF: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Asks the address of the task, or the default.
pub struct Prometheus {
    default_address: Option<String>,
    clients: Clients,
    limits: Limits,
}

/// Why there is no answer to judge.
enum Failure {
    /// The server says that it may work later (429, 5xx).
    Retryable(String),
    Permanent(String),
}

impl Prometheus {
    pub fn new(default_address: Option<String>, policy: AddressPolicy) -> Result<Self, BuildError> {
        Ok(Prometheus {
            default_address,
            clients: Clients::new(policy)?,
            limits: Limits::default(),
        })
    }

    async fn ask(&self, task: &MeasureTask, now: DateTime<Utc>) -> Result<Outcome, String> {
        let address = task.address.as_ref().or(self.default_address.as_ref());
        let address = address
            .ok_or("no address: give provider.prometheus.address, or --prometheus-url to the controller")?;
        let (url, client) = self.clients.find(address)?;
        let timeout = Duration::from_millis(task.timeout.as_millis().unsigned_abs());
        let origin = url.origin().ascii_serialization();
        // Bounded, so that `now` is not long ago when the answer is weighed.
        let place = tokio::time::timeout(timeout, self.limits.acquire(&task.namespace, &origin)).await;
        let _permit =
            place.map_err(|_| format!("other queries to {address} hang: no turn within {}", task.timeout))?;
        let mut last = None;
        match tokio::time::timeout(timeout, ask_both(&client, &url, task, now, &mut last)).await {
            Ok(outcome) => Ok(outcome),
            Err(_) => Err(match last {
                Some(failure) => format!("{failure}; no better answer within {}", task.timeout),
                None => format!("no answer from {address} within {}", task.timeout),
            }),
        }
    }
}

impl Provider for Prometheus {
    fn measure<'a>(&'a self, task: &'a MeasureTask, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.ask(task, now).await.unwrap_or_else(Outcome::Error) })
    }
}

/// The number of requests first: with too few of them the other number means nothing.
async fn ask_both(
    client: &Client,
    url: &Url,
    task: &MeasureTask,
    now: DateTime<Utc>,
    last: &mut Option<String>,
) -> Outcome {
    if let (Some(query), Some(wanted)) = (&task.samples_query, task.min_samples) {
        let counted = ask_patiently(client, url, query, task, now, last).await;
        match counted {
            Outcome::Samples(samples) => {
                let requests = samples.sum();
                if requests < wanted as f64 {
                    return Outcome::NoData(format!("{requests:.0} requests, minSamples {wanted}"));
                }
            }
            other => return other,
        }
    }
    ask_patiently(client, url, &task.query, task, now, last).await
}

async fn ask_patiently(
    client: &Client,
    url: &Url,
    query: &str,
    task: &MeasureTask,
    now: DateTime<Utc>,
    last: &mut Option<String>,
) -> Outcome {
    let mut waits = BACKOFF.into_iter();
    loop {
        match (ask_once(client, url, query, task, now).await, waits.next()) {
            (Ok(outcome), _) => return outcome,
            (Err(Failure::Retryable(why)), Some(wait)) => {
                *last = Some(why);
                tokio::time::sleep(wait).await;
            }
            (Err(Failure::Permanent(why) | Failure::Retryable(why)), _) => return Outcome::Error(why),
        }
    }
}

async fn ask_once(
    client: &Client,
    url: &Url,
    query: &str,
    task: &MeasureTask,
    now: DateTime<Utc>,
) -> Result<Outcome, Failure> {
    let permanent = |error: &dyn std::error::Error| Failure::Permanent(with_causes(error));
    let api = prometheus_http_query::Client::from(client.clone(), url.as_str())
        .map_err(|error| permanent(&error))?;
    let request = api.query(query).timeout(task.timeout.as_millis());
    let response = request.post_raw().await.map_err(|error| permanent(&error))?;
    let status = response.status();
    if let Some(why) = redirection(&response) {
        return Err(Failure::Permanent(why));
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(Failure::Permanent(format!(
            "{status}: {url} wants a credential and none can be given yet; put a proxy that adds it before it"
        )));
    }
    let body = read_body(response, MAX_BODY_BYTES)
        .await
        .map_err(Failure::Permanent)?;
    match status {
        StatusCode::OK => Ok(read_answer(&body, task, now)),
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Err(Failure::Retryable(format!("{status}: {}", read_refusal(&body))))
        }
        _ => Err(Failure::Permanent(format!("{status}: {}", read_refusal(&body)))),
    }
}
