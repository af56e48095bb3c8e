//! The store behind a `tower::Service`: clock, locking, faults, and watches as streams.
//!
//! Guarantees: requests are carried out one at a time and at once; a watcher gets every change after the version
//! it resumed from, in order, or a 410. Assumes a tokio runtime only for watches: their timeouts and bookmarks
//! follow tokio's time, which a test may pause.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT, WARNING};
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use futures::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tower::Service;

use super::hooks::{Fault, Interceptor, RequestCounts};
use super::store::{ApiRequest, ApiResponse, Refusal, Store, Verb, Watch, failure_status};
use crate::clock::Clock;

pub(super) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// How often a quiet watch is told how far it has come.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

struct State {
    store: Store,
    interceptor: Option<Box<dyn Interceptor>>,
    counts: RequestCounts,
}

/// The API server. Clones are handles to the same one.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    clock: Clock,
    /// Carries the newest version, to wake the watchers.
    version: Arc<channel::Sender<u64>>,
    /// Who asks when a request does not say.
    actor: Arc<str>,
}

impl ApiServer {
    /// An empty cluster. All uids and generated names come from `seed`.
    pub fn new(seed: u64, clock: Clock) -> Self {
        ApiServer::of(Store::new(seed, clock.now()), clock)
    }

    /// An independent server of the same objects and definitions, without interceptor and counts. Cheaper than to
    /// install the definitions anew.
    pub fn copy(&self, seed: u64, clock: Clock) -> Self {
        ApiServer::of(self.lock().store.copy(seed), clock)
    }

    fn of(store: Store, clock: Clock) -> Self {
        let version = Arc::new(channel::Sender::new(store.version()));
        let state = State {
            store,
            interceptor: None,
            counts: RequestCounts::default(),
        };
        ApiServer {
            state: Arc::new(Mutex::new(state)),
            clock,
            version,
            actor: Arc::from("unknown"),
        }
    }

    /// A client of this server whose requests carry the actor's name.
    pub fn client(&self, actor: &str) -> kube::Client {
        let named = ApiServer {
            actor: Arc::from(actor),
            ..self.clone()
        };
        kube::Client::new(named, "default")
    }

    pub fn install_crd(&self, definition: Value) -> Result<(), Refusal> {
        let now = self.clock.now();
        let installed = self.lock().store.install_crd(now, definition);
        self.wake();
        installed
    }

    pub fn set_interceptor(&self, interceptor: Option<Box<dyn Interceptor>>) {
        self.lock().interceptor = interceptor;
    }

    /// Looks into the store, past requests, faults and counts.
    pub fn inspect<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock().store)
    }

    /// Forgets all history: every watch that has fallen behind gets 410.
    pub fn compact(&self) {
        self.lock().store.compact();
    }

    pub fn request_counts(&self) -> RequestCounts {
        self.lock().counts.clone()
    }

    /// Answers one request, faults included. `None` means that the answer is lost or never comes.
    pub fn handle(&self, request: &ApiRequest) -> Outcome {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let fault = state.meet(request);
        let lost = match fault {
            Fault::None => false,
            Fault::ApplyThenLose => true,
            Fault::LoseBefore => return Outcome::Lost,
            Fault::Hang => return Outcome::Never,
            Fault::Refuse {
                status,
                reason,
                message,
            } => {
                let body = failure_status(status, &reason, &message, json!({}));
                return Outcome::Answer(ApiResponse {
                    code: status,
                    body: body.into(),
                    warnings: Vec::new(),
                    commits: Vec::new(),
                });
            }
        };
        let response = state.store.handle(now, request);
        if let Some(interceptor) = &mut state.interceptor {
            response
                .commits
                .iter()
                .for_each(|commit| interceptor.committed(commit, &state.store));
        }
        drop(guard);
        if !response.commits.is_empty() {
            self.wake();
        }
        if lost {
            Outcome::Lost
        } else {
            Outcome::Answer(response)
        }
    }

    fn wake(&self) {
        let version = self.lock().store.version();
        self.version.send_replace(version);
    }

    /// A panic elsewhere does not make the store's state wrong: every change is made in one piece.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond<B>(self, request: Request<B>) -> io::Result<Response<ResponseBody>>
    where
        B: hyper::body::Body,
        B::Error: std::fmt::Display,
    {
        let (parts, body) = request.into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(|error| io::Error::other(error.to_string()))?
            .to_bytes();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = ApiRequest::new(parts.method.as_str(), target);
        request.accept = header(&parts.headers, &ACCEPT).to_owned();
        request.content_type = header(&parts.headers, &CONTENT_TYPE).to_owned();
        let actor = header(&parts.headers, &USER_AGENT);
        request.actor = if actor.is_empty() {
            self.actor.to_string()
        } else {
            actor.to_owned()
        };
        request.body = bytes.to_vec();
        if request.verb == Verb::Watch {
            return self.open_watch(&request).await;
        }
        match self.handle(&request) {
            Outcome::Answer(response) => Ok(finish(&response)),
            Outcome::Lost => Err(lost()),
            Outcome::Never => std::future::pending().await,
        }
    }

    async fn open_watch(self, request: &ApiRequest) -> io::Result<Response<ResponseBody>> {
        let fault = self.lock().meet(request);
        match fault {
            Fault::None => {}
            Fault::ApplyThenLose | Fault::LoseBefore => return Err(lost()),
            Fault::Hang => return std::future::pending().await,
            Fault::Refuse {
                status,
                reason,
                message,
            } => {
                return Ok(json_response(
                    status,
                    &failure_status(status, &reason, &message, json!({})),
                ));
            }
        }
        let opened = self.lock().store.watch(request);
        match opened {
            Ok(watch) => {
                let frames = self.frames(watch).map(|bytes| Ok(Frame::data(bytes)));
                let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
                set_json(response.headers_mut());
                Ok(response)
            }
            Err(refusal) => Ok(json_response(refusal.code, &refusal.to_status())),
        }
    }

    /// The lines of one watch, as chunks.
    fn frames(self, watch: Watch) -> impl Stream<Item = Bytes> + Send {
        let end = watch
            .timeout_seconds()
            .map(|seconds| Box::pin(tokio::time::sleep(Duration::from_secs(seconds))));
        let watcher = Watcher {
            changed: self.version.subscribe(),
            server: self,
            watch,
            end,
            over: false,
        };
        stream::unfold(watcher, |mut watcher| async move {
            let chunk = watcher.next().await?;
            Some((chunk, watcher))
        })
    }
}

impl State {
    fn meet(&mut self, request: &ApiRequest) -> Fault {
        self.counts.add(request);
        self.interceptor
            .as_mut()
            .map_or(Fault::None, |interceptor| interceptor.before(request))
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    Answer(ApiResponse),
    /// The connection breaks before the answer arrives.
    Lost,
    /// No answer ever comes.
    Never,
}

struct Watcher {
    server: ApiServer,
    watch: Watch,
    changed: channel::Receiver<u64>,
    end: Option<Pin<Box<tokio::time::Sleep>>>,
    over: bool,
}

impl Watcher {
    /// The next lines to send; `None` at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            self.changed.borrow_and_update();
            let now = self.server.clock.now();
            let batch = self.server.lock().store.watch_next(now, &mut self.watch);
            self.over = batch.ended;
            if !batch.events.is_empty() {
                return Some(lines(&batch.events));
            }
            let bookmark = tokio::time::sleep(BOOKMARK_INTERVAL);
            let quiet = tokio::select! {
                biased;
                changed = self.changed.changed() => {
                    self.over |= changed.is_err();
                    false
                }
                () = until(self.end.as_mut()) => {
                    self.over = true;
                    true
                }
                () = bookmark => true,
            };
            if quiet && self.watch.wants_bookmarks() {
                return Some(lines(&[self.server.lock().store.bookmark(&self.watch)]));
            }
        }
        None
    }
}

async fn until(end: Option<&mut Pin<Box<tokio::time::Sleep>>>) {
    match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}

fn lines(events: &[Value]) -> Bytes {
    let mut text = String::new();
    for event in events {
        text.push_str(&event.to_string());
        text.push('\n');
    }
    Bytes::from(text)
}

fn lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection was lost before the answer",
    )
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn set_json(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

fn finish(response: &ApiResponse) -> Response<ResponseBody> {
    let mut finished = whole(response.code, response.body.to_bytes());
    for warning in &response.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            finished.headers_mut().append(WARNING, value);
        }
    }
    finished
}

fn json_response(code: u16, body: &Value) -> Response<ResponseBody> {
    whole(code, body.to_string().into_bytes())
}

fn whole(code: u16, body: Vec<u8>) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    // Codes come from refusals and faults; one that HTTP does not know is a fault's and becomes a plain 500.
    *response.status_mut() =
        ::http::StatusCode::from_u16(code).unwrap_or(::http::StatusCode::INTERNAL_SERVER_ERROR);
    set_json(response.headers_mut());
    response
}

impl<B> Service<Request<B>> for ApiServer
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().respond(request))
    }
}
