//! From flags, kubeconfig or the pod's service account to a client.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use thiserror::Error;

/// Longer than a watch lasts, so that only a dead connection is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Which cluster; nothing set means what kubectl would use, then the service account of the pod.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
}

#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    #[error("found neither a kubeconfig nor a service account; set --kubeconfig or KUBECONFIG")]
    Infer(#[source] kube::config::InferConfigError),
    #[error("cannot make a client")]
    Client(#[source] kube::Error),
}

impl Connection {
    pub async fn client(&self) -> Result<kube::Client, ConnectError> {
        let mut config = self.config().await?;
        // A retried write could land after the leader's lease is lost; what to do next is decided from a new look.
        config.default_retry = false;
        config.read_timeout = Some(READ_TIMEOUT);
        kube::Client::try_from(config).map_err(ConnectError::Client)
    }

    async fn config(&self) -> Result<kube::Config, ConnectError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(ConnectError::Kubeconfig)?;
                kube::Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(ConnectError::Kubeconfig)
            }
            None if self.context.is_some() => kube::Config::from_kubeconfig(&options)
                .await
                .map_err(ConnectError::Kubeconfig),
            None => kube::Config::infer().await.map_err(ConnectError::Infer),
        }
    }
}

/// The one TLS provider of the process. Must run before the first client is made; running it twice is harmless.
pub fn install_tls_provider() {
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
}
