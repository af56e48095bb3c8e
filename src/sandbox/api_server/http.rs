//! The API server over HTTP on loopback, and the kubeconfig that leads there.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::service::ApiServer;

/// A listening API server; dropping it stops it and cuts its connections.
#[derive(Debug)]
pub struct HttpServer {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Listens on a loopback address; port 0 takes a free one.
    pub async fn start(server: ApiServer, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(HttpServer {
            address,
            accepting: tokio::spawn(accept(listener, server)),
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig with this server as its only context.
    pub async fn write_kubeconfig(&self, path: &Path) -> io::Result<()> {
        let url = self.url();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n\
             clusters:\n- name: sandbox\n  cluster:\n    server: {url}\n\
             users:\n- name: sandbox\n  user: {{}}\n\
             contexts:\n- name: sandbox\n  context:\n    cluster: sandbox\n    user: sandbox\n    namespace: default\n"
        );
        tokio::fs::write(path, text).await
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: ApiServer) {
    // They end with the listener, as they would with the process of a server.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((socket, _)) = accepted else { continue };
        let service = TowerToHyperService::new(server.clone());
        connections.spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            // A caller that goes away, or is cut off by a fault, is no concern of the server's.
            let _ = connection
                .http1_only()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
