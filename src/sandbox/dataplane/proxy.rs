//! The data plane on sockets: a reverse proxy that follows the cluster through watches and asks the [`DataPlane`] about
//! every request. It never retries: a pod that refuses, breaks off or does not answer costs that request, and the
//! answer says so in [`LOST_HEADER`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, select_all};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpListener;

use super::gateway_status::{self, Statuses};
use super::{DataPlane, Decision, Delays, Kind, LOST_HEADER, LostReason, Shares};
use crate::clock::Clock;
use crate::sandbox::listen;
use crate::sandbox::resource::{endpoint_slices, http_routes, ingresses, services};
use crate::sandbox::watch::{Event, watch};

type Answer = Response<Either<Incoming, String>>;

/// One proxy; [`Proxy::follow`] and [`Proxy::serve`] run side by side until dropped.
pub struct Proxy {
    table: Mutex<DataPlane>,
    clock: Clock,
    pods: Client<HttpConnector, Incoming>,
    /// How long a pod may take until its answer begins.
    timeout: Duration,
}

impl Proxy {
    pub fn new(clock: Clock, delays: Delays, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let pods = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .set_host(false)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Proxy {
            table: Mutex::new(DataPlane::new(delays)),
            clock,
            pods,
            timeout,
        }
    }

    /// Where GET requests go just now.
    pub fn shares(&self, host: &str, path: &str) -> Shares {
        let now = self.clock.now();
        self.table().shares(now, host, path)
    }

    pub fn set_delays(&self, delays: Delays) {
        self.table().set_delays(delays);
    }

    /// Keeps the table up to date and HTTPRoutes informed.
    pub async fn follow(&self, client: kube::Client) {
        let mut events = watch_all(&client);
        let mut statuses = Statuses::default();
        while let Some((kind, event)) = events.next().await {
            let Event::Changed(key, object) = event else {
                continue;
            };
            let now = self.clock.now();
            let value = object
                .as_ref()
                .and_then(|object| serde_json::to_value(object).ok());
            self.table().apply(now, kind, &key, value.as_ref());
            let to_write = match kind {
                Kind::HttpRoute => {
                    let status = statuses.put_route(&key, object.as_deref(), now);
                    status.into_iter().map(|status| (key.clone(), status)).collect()
                }
                Kind::Service => statuses.put_service(&key, object.is_some(), now),
                Kind::Ingress | Kind::EndpointSlice => Vec::new(),
            };
            for (key, status) in to_write {
                gateway_status::write(&client, &key, &status).await;
            }
        }
    }

    /// Answers requests that arrive at the listener.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        listen::serve(listener, move |request| Arc::clone(&self).answer(request)).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let now = self.clock.now();
        let decision = self
            .table()
            .route(now, host, request.method().as_str(), request.uri().path());
        match decision {
            Decision::To { address, .. } => match self.forward(request, address).await {
                Ok(response) => response.map(Either::Left),
                Err(reason) => lost(reason),
            },
            Decision::Lost(reason) => lost(reason),
        }
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        pod: SocketAddr,
    ) -> Result<Response<Incoming>, LostReason> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder()
            .scheme("http")
            .authority(pod.to_string())
            .path_and_query(path)
            .build();
        *request.uri_mut() = uri.map_err(|_| LostReason::Reset)?;
        // Whether to keep a connection is agreed on each side by itself.
        request.headers_mut().remove(CONNECTION);
        match tokio::time::timeout(self.timeout, self.pods.request(request)).await {
            Err(_) => Err(LostReason::Timeout),
            Ok(Err(error)) => Err(lost_reason(&error)),
            Ok(Ok(mut response)) => {
                response.headers_mut().remove(CONNECTION);
                Ok(response)
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, DataPlane> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch_all(client: &kube::Client) -> BoxStream<'static, (Kind, Event)> {
    let kinds = [
        (Kind::Service, services()),
        (Kind::EndpointSlice, endpoint_slices()),
        (Kind::Ingress, ingresses()),
        (Kind::HttpRoute, http_routes()),
    ];
    select_all(kinds.map(|(kind, resource)| watch(client, &resource).map(move |event| (kind, event)).boxed()))
        .boxed()
}

fn lost_reason(error: &ClientError) -> LostReason {
    let timed_out = std::iter::successors(std::error::Error::source(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::TimedOut);
    match (timed_out, error.is_connect()) {
        (true, _) => LostReason::Timeout,
        (false, true) => LostReason::Refused,
        (false, false) => LostReason::Reset,
    }
}

fn lost(reason: LostReason) -> Answer {
    let mut response = Response::new(Either::Right(format!("no pod answered: {}\n", reason.as_str())));
    *response.status_mut() = reason.status();
    response
        .headers_mut()
        .insert(LOST_HEADER, HeaderValue::from_static(reason.as_str()));
    response
}
