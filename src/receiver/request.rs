//! One request: who asks, what they send, and what is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::file::Followed;
use crate::alerts::decode::{Batch, decode_webhook};
use crate::alerts::token::Tokens;
use crate::alerts::{Namespaces, Reach, RoutingLabels};
use crate::clock::Stopwatch;
use crate::controllers::alerts::{Source, Taken};
use crate::controllers::context::Context;

pub const PATH: &str = "/alertmanager/v1/webhook";
const MAX_BODY_BYTES: usize = 1_048_576;
const BODY_WITHIN: Duration = Duration::from_secs(4);
/// Bodies in memory at once: one can take many times its size.
const BODIES: usize = 6;
/// Of these, from those who reach the same namespaces: nobody who is slow keeps all the others waiting.
const BODIES_OF_ONE: usize = 2;
/// How long a body waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// For everything that an alert asks for to be in the cluster.
const TAKEN_WITHIN: Duration = Duration::from_secs(9);
/// Of a message that anybody can cause, no more than one in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Why a request is not answered 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Path,
    Method,
    Token,
    ContentType,
    TooLong,
    Unreadable,
    Malformed,
    Forbidden,
    Unready,
    Busy,
    Unstored,
}

impl Refusal {
    /// Alertmanager sends again after 5xx and after nothing else.
    fn status(self) -> StatusCode {
        match self {
            Refusal::Path => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Token => StatusCode::UNAUTHORIZED,
            Refusal::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Unreadable | Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::Forbidden => StatusCode::FORBIDDEN,
            Refusal::Unready | Refusal::Busy | Refusal::Unstored => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Refusal::Path => "alerts are received at /alertmanager/v1/webhook",
            Refusal::Method => "alerts are sent by POST",
            Refusal::Token => "the bearer token is missing or not valid",
            Refusal::ContentType => "alerts are sent as application/json",
            Refusal::TooLong => "the body is longer than 1 MiB; lower max_alerts of the receiver",
            Refusal::Unreadable => "the body is not the webhook of Alertmanager, version 4",
            Refusal::Malformed => {
                "an alert has no fingerprint or start, or labels that cannot be; the others were taken"
            }
            Refusal::Forbidden => {
                "an alert names a namespace that the token does not reach; the others were taken"
            }
            Refusal::Unready => "the caches are not complete yet; what concerns a known Rollout was taken",
            Refusal::Busy => "others are being taken",
            Refusal::Unstored => "not everything could be stored",
        }
    }
}

pub struct Receiver {
    pub context: Arc<Context>,
    ready: watch::Receiver<bool>,
    pub tokens: Followed<Tokens>,
    labels: RoutingLabels,
    bodies: Semaphore,
    /// Shares that nobody uses take no memory.
    shares: Mutex<BTreeMap<Namespaces, Arc<Semaphore>>>,
    truncated: Seldom,
    unaddressed: Seldom,
    refused: Seldom,
}

impl Receiver {
    pub fn new(
        context: Arc<Context>,
        ready: watch::Receiver<bool>,
        tokens: Followed<Tokens>,
        labels: RoutingLabels,
    ) -> Self {
        Receiver {
            context,
            ready,
            tokens,
            labels,
            bodies: Semaphore::new(BODIES),
            shares: Mutex::default(),
            truncated: Seldom::default(),
            unaddressed: Seldom::default(),
            refused: Seldom::default(),
        }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let refusal = self.take(request).await.err();
        let status = refusal.map_or(StatusCode::OK, Refusal::status);
        self.context.metrics.alerts.count_request(code(status));
        if let Some(refusal) = refusal
            && self.refused.is_due()
        {
            tracing::warn!(
                status = status.as_u16(),
                why = refusal.text(),
                "alerts were refused"
            );
        }
        let mut response = Response::new(Full::from(refusal.map_or("ok", Refusal::text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if refusal == Some(Refusal::Method) {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        // Whoever has not shown a token has no claim to a connection either.
        if matches!(refusal, Some(Refusal::Path | Refusal::Method | Refusal::Token)) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn take(&self, request: Request<Incoming>) -> Result<(), Refusal> {
        if request.uri().path() != PATH {
            return Err(Refusal::Path);
        }
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let tokens = self.tokens.current();
        let token = bearer(request.headers()).ok_or(Refusal::Token)?;
        let namespaces = tokens.reach_of(token).ok_or(Refusal::Token)?;
        if !is_json(request.headers()) {
            return Err(Refusal::ContentType);
        }
        if length(request.headers()).is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(Refusal::TooLong);
        }
        let share = self.share(namespaces);
        let turn = async { (share.acquire().await, self.bodies.acquire().await) };
        let _turn = timeout(TURN_WITHIN, turn).await.map_err(|_| Refusal::Busy)?;
        let body = read_body(request.into_body()).await?;
        let batch = decode_webhook(&body).map_err(|_| Refusal::Unreadable)?;
        drop(body);
        let is_ready = *self.ready.borrow();
        let taken = timeout(TAKEN_WITHIN, self.take_batch(&batch, namespaces, is_ready)).await;
        let taken = taken.map_err(|_| Refusal::Unstored)?;
        // What comes first is what the sender can do something about by sending it again.
        match taken {
            Taken { unstored: true, .. } => Err(Refusal::Unstored),
            Taken { .. } if !is_ready => Err(Refusal::Unready),
            Taken { malformed: true, .. } => Err(Refusal::Malformed),
            Taken { forbidden: true, .. } => Err(Refusal::Forbidden),
            Taken { .. } => Ok(()),
        }
    }

    fn share(&self, namespaces: &Namespaces) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = shares.entry(namespaces.clone());
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(BODIES_OF_ONE))))
    }

    async fn take_batch(&self, batch: &Batch, namespaces: &Namespaces, is_ready: bool) -> Taken {
        let reach = Reach {
            namespaces,
            labels: Some(&self.labels),
        };
        let metrics = &self.context.metrics.alerts;
        if batch.truncated > 0 {
            metrics.count_truncated(batch.truncated);
            if self.truncated.is_due() {
                let left_out = batch.truncated;
                tracing::warn!(
                    left_out,
                    "Alertmanager left alerts out (max_alerts of the receiver)"
                );
            }
        }
        let mut taken = self.context.take_alerts(Source::Push, &batch.alerts, reach).await;
        if batch.malformed > 0 {
            metrics.count("push", "malformed", batch.malformed);
            taken.malformed = true;
        }
        if taken.unaddressed && is_ready && self.unaddressed.is_due() {
            tracing::warn!(
                namespace_label = self.labels.namespace,
                rollout_label = self.labels.rollout,
                "alerts concern no Rollout: none in release in the namespaces of their token matches them, and their \
                 labels name none that there is"
            );
        }
        taken
    }
}

/// The receiver's own codes, as texts that live for ever.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "200",
        StatusCode::BAD_REQUEST => "400",
        StatusCode::UNAUTHORIZED => "401",
        StatusCode::FORBIDDEN => "403",
        StatusCode::NOT_FOUND => "404",
        StatusCode::METHOD_NOT_ALLOWED => "405",
        StatusCode::PAYLOAD_TOO_LARGE => "413",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "415",
        _ => "503",
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_json(headers: &HeaderMap) -> bool {
    let written = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = written
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = timeout(BODY_WITHIN, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLong),
        Ok(Err(_)) => Err(Refusal::Unreadable),
        // It may come in time when it is sent again.
        Err(_) => Err(Refusal::Busy),
    }
}

/// Says when it is time for a message that could come at any rate.
struct Seldom {
    last: Mutex<Option<Duration>>,
    stopwatch: Stopwatch,
}

impl Default for Seldom {
    fn default() -> Self {
        Seldom {
            last: Mutex::default(),
            stopwatch: Stopwatch::start(),
        }
    }
}

impl Seldom {
    fn is_due(&self) -> bool {
        let now = self.stopwatch.elapsed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now >= last + WARN_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
