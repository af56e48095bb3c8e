//! Metric providers, witnesses of data planes and sources of alerts: the only code that asks anything outside the cluster
//! a question.
//!
//! A provider answers a task with numbers or says which kind of nothing it got; it never judges and never
//! holds state between tasks. Every answer is untrusted: its size, its nesting and its time are bounded,
//! redirects are not followed, and where a connection goes is checked again after the name was resolved.

pub mod alertmanager;
mod answer;
mod dial;
mod limits;
pub mod prometheus;
pub mod traefik;
pub mod witness;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use crate::api::data_plane::{Question, Said};
use crate::api::measure::{MeasureTask, Outcome};

pub use alertmanager::Alertmanager;
pub use dial::BuildError;
use limits::Limits;
pub use prometheus::Prometheus;
pub use witness::DataPlaneReader;

/// A source of numbers. `now` is compared with the time of the samples. A call takes at most twice the
/// task's timeout: once for its turn, once for the answer.
pub trait Provider: Send + Sync {
    fn measure<'a>(&'a self, task: &'a MeasureTask, now: DateTime<Utc>) -> BoxFuture<'a, Outcome>;
}

/// Somebody who knows what a data plane does. A call takes at most 20 seconds.
pub trait Witness: Send + Sync {
    fn ask<'a>(&'a self, question: &'a Question, now: DateTime<Utc>) -> BoxFuture<'a, Said>;
}

/// Somebody who knows which alerts fire. The answer is a body of Alertmanager's `/api/v2/alerts`, or why there is none;
/// it takes at most five seconds.
pub trait AlertSource: Send + Sync {
    fn active(&self) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// Must run before the first client is built, in every binary and test; a second call changes nothing.
pub fn install_tls() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
