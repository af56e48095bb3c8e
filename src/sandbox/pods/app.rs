//! The demo application: answers every path with its version and its pod's name, sometimes with an error, after a
//! while, and serves `/metrics`. The environment of the pod's first container sets it up:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `VERSION` | reported in answers | the image's tag |
//! | `LATENCY_MS` | mean time to an answer; single ones spread evenly from half to one and a half of it | 5 |
//! | `ERROR_RATE` | share of requests answered with 500, 0 to 1 | 0 |
//! | `START_SECONDS` | time from creation to ready | 0.2 |
//! | `READY` | `false`: never becomes ready | true |
//! | `CRASH_AFTER_SECONDS` | stops serving so long after its start | never |

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use kube::api::DynamicObject;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::PodRuntime;
use crate::clock::Stopwatch;
use crate::sandbox::listen;
use crate::sandbox::resource::{Key, list, text};
use crate::sandbox::rng::Rng;

/// Headers of every answer of the application's own.
pub const POD_HEADER: &str = "x-pod";
pub const VERSION_HEADER: &str = "x-version";

/// 5 ms to 2.5 s, fine enough that a p95 interpolated between two bounds means something.
const LATENCY_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5,
];

/// What a pod's spec says about its application.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub version: String,
    pub port: u16,
    pub latency: Duration,
    pub error_rate: f64,
    pub starts_after: TimeDelta,
    pub becomes_ready: bool,
    pub crashes_after: Option<TimeDelta>,
}

impl Settings {
    pub(super) fn of(pod: &DynamicObject) -> Self {
        let container = list(&pod.data, "/spec/containers")
            .first()
            .cloned()
            .unwrap_or_default();
        let pair = |one| Some((text(one, "/name")?.to_owned(), text(one, "/value")?.to_owned()));
        let env: BTreeMap<_, _> = list(&container, "/env").iter().filter_map(pair).collect();
        let number = |name: &str| env.get(name)?.parse::<f64>().ok().filter(|value| *value >= 0.0);
        let seconds = |value: f64| TimeDelta::milliseconds((value * 1000.0) as i64);
        let tag = text(&container, "/image")
            .and_then(|image| image.rsplit_once(':'))
            .map(|(_, tag)| tag);
        let port = container
            .pointer("/ports/0/containerPort")
            .and_then(serde_json::Value::as_u64);
        Settings {
            version: env
                .get("VERSION")
                .map(String::as_str)
                .or(tag)
                .unwrap_or_default()
                .to_owned(),
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(8080),
            latency: Duration::from_secs_f64(number("LATENCY_MS").unwrap_or(5.0).min(1e6) / 1000.0),
            error_rate: number("ERROR_RATE").unwrap_or(0.0),
            starts_after: seconds(number("START_SECONDS").unwrap_or(0.2)),
            becomes_ready: env.get("READY").is_none_or(|ready| ready != "false"),
            crashes_after: number("CRASH_AFTER_SECONDS").map(seconds),
        }
    }
}

/// Runs the application on real sockets. Must be used inside a tokio runtime.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The accepting task of each pod; it owns its connections, which end with it.
    servers: BTreeMap<Key, JoinHandle<()>>,
}

impl PodRuntime for Sockets {
    fn start(&mut self, pod: &Key, settings: &Settings, address: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = Arc::new(App::new(&pod.name, settings));
        self.servers.insert(
            pod.clone(),
            tokio::spawn(listen::serve(listener, move |request| {
                Arc::clone(&app).answer(request)
            })),
        );
        Ok(())
    }

    fn stop(&mut self, pod: &Key) {
        if let Some(server) = self.servers.remove(pod) {
            server.abort();
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.servers.values().for_each(JoinHandle::abort);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

struct App {
    pod: String,
    settings: Settings,
    /// Seeded by the pod's name: its n-th request meets the same fate in every run.
    rng: Mutex<Rng>,
    requests: Family<CodeLabel, Counter>,
    durations: Histogram,
    registry: Registry,
}

impl App {
    fn new(pod: &str, settings: &Settings) -> Self {
        let seed = pod.bytes().fold(0u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let requests = Family::<CodeLabel, Counter>::default();
        // Both codes exist from the start, so that a rate of zero errors is 0 and not absent.
        for code in [200, 500] {
            drop(requests.get_or_create(&CodeLabel { code }));
        }
        let durations = Histogram::new(LATENCY_BUCKETS);
        let mut registry = Registry::default();
        registry.register(
            "http_requests",
            "Requests answered, by status code",
            requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time to an answer",
            durations.clone(),
        );
        let (pod, settings, rng) = (pod.to_owned(), settings.clone(), Mutex::new(Rng::new(seed)));
        App {
            pod,
            settings,
            rng,
            requests,
            durations,
            registry,
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<String> {
        if request.uri().path() == "/metrics" {
            return self.metrics();
        }
        let stopwatch = Stopwatch::start();
        let (spread, fails) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            (0.5 + rng.unit(), rng.chance(self.settings.error_rate))
        };
        tokio::time::sleep(self.settings.latency.mul_f64(spread)).await;
        let code = if fails {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        };
        self.requests
            .get_or_create(&CodeLabel { code: code.as_u16() })
            .inc();
        self.durations.observe(stopwatch.elapsed().as_secs_f64());
        let body = serde_json::json!({"version": self.settings.version, "pod": self.pod}).to_string();
        let answer = Response::builder()
            .status(code)
            .header(POD_HEADER, &self.pod)
            .header(VERSION_HEADER, &self.settings.version)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body);
        answer.unwrap_or_else(|error| internal_error(&error))
    }

    fn metrics(&self) -> Response<String> {
        let mut body = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut body, &self.registry) {
            return internal_error(&error);
        }
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let answer = Response::builder()
            .header(http::header::CONTENT_TYPE, kind)
            .body(body);
        answer.unwrap_or_else(|error| internal_error(&error))
    }
}

fn internal_error(error: &dyn std::error::Error) -> Response<String> {
    let mut answer = Response::new(error.to_string());
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(container: Value) -> Settings {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}});
        Settings::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn settings_come_from_the_environment() {
        let env = json!([
            {"name": "VERSION", "value": "v2"}, {"name": "LATENCY_MS", "value": "250"},
            {"name": "ERROR_RATE", "value": "0.05"}, {"name": "START_SECONDS", "value": "1.5"},
            {"name": "READY", "value": "false"}, {"name": "CRASH_AFTER_SECONDS", "value": "3"},
        ]);
        let expected = Settings {
            version: "v2".to_owned(),
            port: 9000,
            latency: Duration::from_millis(250),
            error_rate: 0.05,
            starts_after: TimeDelta::milliseconds(1500),
            becomes_ready: false,
            crashes_after: Some(TimeDelta::seconds(3)),
        };
        assert_eq!(
            settings(json!({"env": env, "ports": [{"containerPort": 9000}]})),
            expected
        );
    }

    #[test]
    fn nonsense_in_the_environment_means_the_default() {
        let env = json!([{"name": "LATENCY_MS", "value": "fast"}, {"name": "START_SECONDS", "value": "-1"}]);
        let got = settings(json!({"image": "shop:v1", "env": env}));
        assert_eq!(
            (got.latency, got.starts_after),
            (Duration::from_millis(5), TimeDelta::milliseconds(200))
        );
        assert_eq!((got.version.as_str(), got.port), ("v1", 8080));
    }

    #[test]
    fn metrics_have_both_codes_and_the_buckets_before_the_first_request() {
        let app = App::new("a", &settings(json!({})));
        let text = app.metrics().into_body();
        for line in [
            "http_requests_total{code=\"200\"} 0",
            "http_requests_total{code=\"500\"} 0",
            "http_request_duration_seconds_bucket{le=\"0.005\"} 0",
            "http_request_duration_seconds_bucket{le=\"2.5\"} 0",
        ] {
            assert!(text.lines().any(|got| got == line), "{line} is not in\n{text}");
        }
    }
}
