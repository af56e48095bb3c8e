//! The accept loop that the proxy and the pods share. Its connections are its own: dropping the loop drops them with
//! whatever is in flight on them.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The pause after a failed accept (out of file descriptors, say), so that it does not spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Answers every request that arrives at the listener, until dropped. Idle connections are never closed from this
/// side: that would lose a request now and then for no reason of the cluster's.
pub(super) async fn serve<A, F, B>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            continue;
        };
        // Small answers must not wait for more data to send.
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = hyper::service::service_fn(move |request| {
            let response = answer(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        connections.spawn(async move {
            // A broken connection is the client's to count.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
