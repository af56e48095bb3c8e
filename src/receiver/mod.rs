//! The alert receiver: `POST /alertmanager/v1/webhook`, on an address of its own, on every replica.
//!
//! It can only ask for aborts. Guarantees: 2xx only once everything that an alert asks for is in the cluster; what may be
//! sent again is answered 503 and never 429, because Alertmanager sends again only after 5xx; connections, bodies and the
//! time of each are bounded; certificates, authorities and tokens are read again when their files change, and a file
//! that cannot be read changes nothing.

mod file;
mod request;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::alerts::RoutingLabels;
use crate::alerts::token::Tokens;
use crate::controllers::context::Context;
pub use file::FileError;
use file::{Followed, follow};
pub use request::PATH;
use request::Receiver;
use tls::{Tls, read_tls};

const MAX_CONNECTIONS: usize = 256;
/// For a handshake, and for the head of a request.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// The file descriptors are used up, mostly.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How alerts are received.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    pub tokens: PathBuf,
    pub labels: RoutingLabels,
}

/// PEM files, as cert-manager writes them into a Secret.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate and what leads from it to its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who signs clients: without it they need no certificate.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn paths(&self) -> Vec<PathBuf> {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_ca);
        files.cloned().collect()
    }
}

#[derive(Debug, Error)]
pub enum ReceiverError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot use the files")]
    File(#[from] FileError),
}

/// A receiver that listens, and is served until it is dropped.
pub struct Listening {
    listener: TcpListener,
    tls: Option<Followed<Tls>>,
    receiver: Arc<Receiver>,
}

impl Listening {
    /// Reads the files and takes the address; port 0 is a free one. `ready`: whether every essential cache is complete.
    pub async fn begin(
        settings: Settings,
        context: Arc<Context>,
        ready: watch::Receiver<bool>,
    ) -> Result<Self, ReceiverError> {
        let Settings {
            address,
            tls,
            tokens,
            labels,
        } = settings;
        let read_tokens =
            |files: &[Vec<u8>]| Tokens::parse(&files.concat()).map_err(|error| error.to_string());
        let tokens = Followed::read("tokens", vec![tokens], read_tokens)?;
        let tls = match tls {
            Some(files) => Some(Followed::read("tls", files.paths(), read_tls)?),
            None => None,
        };
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ReceiverError::Listen { address, source })?;
        Ok(Listening {
            listener,
            tls,
            receiver: Arc::new(Receiver::new(context, ready, tokens, labels)),
        })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped; connections end with it.
    pub async fn serve(self) {
        let Listening {
            listener,
            tls,
            receiver,
        } = self;
        let metrics = Arc::clone(&receiver.context.metrics);
        let accepting = accept(&listener, tls.clone(), &receiver);
        let tokens = follow(receiver.tokens.clone(), &metrics);
        let certificates = async {
            match tls.clone() {
                Some(tls) => follow(tls, &metrics).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(accepting, tokens, certificates);
    }
}

async fn accept(listener: &TcpListener, tls: Option<Followed<Tls>>, receiver: &Arc<Receiver>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Fails only for a closed semaphore, and nobody closes this one.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection for alerts could not be accepted");
                sleep(REST_AFTER_ERROR).await;
                continue;
            }
        };
        let (tls, receiver) = (tls.clone(), Arc::clone(receiver));
        connections.spawn(async move {
            greet(socket, tls, receiver).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn greet(socket: TcpStream, tls: Option<Followed<Tls>>, receiver: Arc<Receiver>) {
    let Some(tls) = tls else {
        return converse(socket, receiver).await;
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.current());
    match timeout(HELLO_WITHIN, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => converse(stream, receiver).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection for alerts"),
        Err(_) => tracing::debug!("no TLS connection for alerts in time"),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, receiver: Arc<Receiver>) {
    let service = service_fn(|request| {
        let receiver = Arc::clone(&receiver);
        async move { Ok::<_, std::convert::Infallible>(receiver.answer(request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HELLO_WITHIN);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for alerts ended");
    }
}
