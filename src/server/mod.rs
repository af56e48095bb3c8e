//! What is asked about the controller over HTTP: `/metrics`, `/healthz`, `/readyz`. Reads only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controllers::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whose state is shown.
#[derive(Clone)]
pub struct Shown {
    pub metrics: Arc<Metrics>,
    /// Whether every essential cache has been listed.
    pub ready: watch::Receiver<bool>,
}

/// Listens and answers until the future is dropped. Port 0 takes a free one; `listening` is told which.
pub async fn serve(
    address: SocketAddr,
    shown: Shown,
    listening: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    listening(listener.local_addr()?);
    axum::serve(listener, routes(shown)).await
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown)
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    match *shown.ready.borrow() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "caches are not complete yet"),
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shown.metrics.encode())
}
