//! The controller's way to the API server. Every request stops twice, before it is sent and before its answer is
//! handed over, and asks the simulation what happens next: time passes, a fault, or nobody is there any more to hear
//! the answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request};
use kube::client::Body;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Commit, Fault, Interceptor, Store};
use tokio::sync::{mpsc, oneshot};
use tower::Service;

/// A request on its way.
pub struct Stop {
    pub point: Point,
    pub is_write: bool,
    pub what: String,
    pub go_on: oneshot::Sender<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Before,
    After,
}

/// What the interceptor was told and has seen.
#[derive(Default)]
pub struct Wire {
    /// For the controller's next request.
    pub fault: Fault,
    pub commits: Vec<Commit>,
}

pub struct Tap(pub Arc<Mutex<Wire>>);

pub fn is_controller(actor: &str) -> bool {
    actor.starts_with("tidegate/")
}

impl Interceptor for Tap {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        if is_controller(&request.actor) {
            std::mem::take(&mut self.0.lock().unwrap().fault)
        } else {
            Fault::None
        }
    }

    fn committed(&mut self, commit: &Commit, _: &Store) {
        self.0.lock().unwrap().commits.push(commit.clone());
    }
}

/// The API server behind the two stops.
#[derive(Clone)]
pub struct Gate {
    pub server: ApiServer,
    pub stops: mpsc::UnboundedSender<Stop>,
    pub wire: Arc<Mutex<Wire>>,
    /// A deliberate bug of the observer: a read that fails looks like absence.
    pub blind: bool,
}

impl Gate {
    async fn stop(&self, point: Point, is_write: bool, what: &str) -> Fault {
        let (go_on, answer) = oneshot::channel();
        let stop = Stop {
            point,
            is_write,
            what: what.to_owned(),
            go_on,
        };
        match self.stops.send(stop) {
            Ok(()) => answer.await.unwrap_or(Fault::Hang),
            Err(_) => Fault::Hang,
        }
    }

    /// The fault as the observer with the deliberate bug takes it.
    fn disguise(&self, fault: Fault, is_write: bool) -> Fault {
        match fault {
            Fault::None => Fault::None,
            _ if self.blind && !is_write => Fault::Refuse {
                status: 404,
                reason: "NotFound".to_owned(),
                message: "not found".to_owned(),
            },
            fault => fault,
        }
    }
}

impl Service<Request<Body>> for Gate {
    type Response = <ApiServer as Service<Request<Body>>>::Response;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut gate = self.clone();
        Box::pin(async move {
            let is_write = request.method() != Method::GET;
            let what = format!("{} {}", request.method(), request.uri().path());
            let fault = gate.stop(Point::Before, is_write, &what).await;
            gate.wire.lock().unwrap().fault = gate.disguise(fault, is_write);
            let answer = gate.server.call(request).await;
            gate.stop(Point::After, is_write, &what).await;
            answer
        })
    }
}
