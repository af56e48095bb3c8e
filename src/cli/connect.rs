//! From kubeconfig and flags to a `kube::Client` that never hangs and never repeats a write by itself.
//! Installs ring as the TLS provider first, because the first TLS client without one panics.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

use crate::providers::install_tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum ConnectError {
    /// `tried` is what KUBECONFIG says, if anything.
    #[error(
        "no kubeconfig found{}: set KUBECONFIG, pass --kubeconfig or create ~/.kube/config",
        .tried.as_ref().map(|tried| format!(" (KUBECONFIG is {tried})")).unwrap_or_default()
    )]
    NoKubeconfig { tried: Option<String> },
    #[error("no context {wanted:?} in the kubeconfig; it has: {known}")]
    NoContext { wanted: String, known: String },
    #[error("the kubeconfig names no current context; choose one with --context: {known}")]
    NoCurrentContext { known: String },
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[source] KubeconfigError),
    #[error("cannot make a client for the cluster")]
    Client(#[source] kube::Error),
}

/// The flags `--kubeconfig`, `--context` and `--namespace`.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub namespace: Option<String>,
}

/// Where to connect and as whom, before any connection is made.
#[derive(Clone, Debug)]
pub struct Connection {
    pub config: Config,
    /// The kubeconfig's name for the user; nothing inside a cluster.
    pub user: Option<String>,
}

/// The kubeconfig, else the pod's own service account.
pub async fn load(options: &ConnectOptions) -> Result<Connection, ConnectError> {
    install_tls();
    let mut connection = match read_kubeconfig(options)? {
        Some(kubeconfig) => use_kubeconfig(kubeconfig, options).await?,
        None => {
            let config = Config::incluster().map_err(|_| no_kubeconfig())?;
            Connection { config, user: None }
        }
    };
    let config = &mut connection.config;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(ANSWER_TIMEOUT);
    config.write_timeout = Some(ANSWER_TIMEOUT);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    if let Some(namespace) = &options.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Ok(connection)
}

impl Connection {
    pub fn client(&self) -> Result<kube::Client, ConnectError> {
        kube::Client::try_from(self.config.clone()).map_err(ConnectError::Client)
    }
}

fn no_kubeconfig() -> ConnectError {
    let tried = std::env::var_os("KUBECONFIG").map(|paths| paths.to_string_lossy().into_owned());
    ConnectError::NoKubeconfig {
        tried: tried.filter(|paths| !paths.is_empty()),
    }
}

fn read_kubeconfig(options: &ConnectOptions) -> Result<Option<Kubeconfig>, ConnectError> {
    let read = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    match read {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(error, _))
            if error.kind() == std::io::ErrorKind::NotFound && options.kubeconfig.is_none() =>
        {
            Ok(None)
        }
        Err(error) => Err(ConnectError::Kubeconfig(error)),
    }
}

async fn use_kubeconfig(
    kubeconfig: Kubeconfig,
    options: &ConnectOptions,
) -> Result<Connection, ConnectError> {
    let known = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let wanted = options
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
        return Err(match known.is_empty() {
            true => no_kubeconfig(),
            false => ConnectError::NoCurrentContext { known },
        });
    };
    let Some(context) = kubeconfig.contexts.iter().find(|context| context.name == wanted) else {
        return Err(ConnectError::NoContext { wanted, known });
    };
    let user = context.context.as_ref().and_then(|context| context.user.clone());
    let choice = KubeConfigOptions {
        context: Some(wanted),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &choice)
        .await
        .map_err(ConnectError::Kubeconfig)?;
    Ok(Connection { config, user })
}
