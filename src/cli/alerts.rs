//! The controller's flags about alerts: where they are received, who may send them, and whom to ask for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use thiserror::Error;

use super::controller::parse_duration;
use crate::alerts::RoutingLabels;
use crate::api::address::{AddressError, AddressPolicy, check_address};
use crate::controllers::alert_poll::AlertPoll;
use crate::providers::Alertmanager;
use crate::receiver;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Alerts")]
pub struct AlertArguments {
    /// Where to receive alerts from Alertmanager; nowhere unless given. Needs --alert-tokens, and a certificate.
    #[arg(long, env = "TIDEGATE_ALERT_ADDRESS", requires = "alert_tokens")]
    alert_address: Option<SocketAddr>,
    /// File with the hashes of the tokens that may send alerts, and the namespaces that each reaches (YAML).
    #[arg(long, env = "TIDEGATE_ALERT_TOKENS", requires = "alert_address")]
    alert_tokens: Option<PathBuf>,
    /// Certificate of the receiver, with its chain (PEM); read again when it changes.
    #[arg(
        long,
        env = "TIDEGATE_ALERT_TLS_CERT",
        requires = "alert_tls_key",
        conflicts_with = "alert_insecure"
    )]
    alert_tls_cert: Option<PathBuf>,
    /// Private key of the receiver (PEM).
    #[arg(long, env = "TIDEGATE_ALERT_TLS_KEY", requires = "alert_tls_cert")]
    alert_tls_key: Option<PathBuf>,
    /// Authorities that must have signed the certificate of whoever sends alerts (PEM); none is asked for unless given.
    #[arg(long, env = "TIDEGATE_ALERT_CLIENT_CA", requires = "alert_tls_cert")]
    alert_client_ca: Option<PathBuf>,
    /// Receive alerts over plain HTTP: whoever sees the traffic has the tokens.
    #[arg(long, env = "TIDEGATE_ALERT_INSECURE", value_parser = BoolishValueParser::new())]
    alert_insecure: bool,
    /// Label of an alert that names the namespace of a Rollout.
    #[arg(long, env = "TIDEGATE_ALERT_NAMESPACE_LABEL", default_value = "namespace")]
    alert_namespace_label: String,
    /// Label of an alert that names a Rollout.
    #[arg(long, env = "TIDEGATE_ALERT_ROLLOUT_LABEL", default_value = "rollout")]
    alert_rollout_label: String,
    /// Alertmanager to ask for alerts while a Rollout with abortOn is being released; none unless given.
    // Until it is checked it may carry a password, which neither --help nor an error of the parser may show.
    #[arg(long, env = "TIDEGATE_ALERTMANAGER_URL", hide_env_values = true)]
    alertmanager_url: Option<String>,
    /// Between two questions to it.
    #[arg(long, env = "TIDEGATE_ALERT_POLL_INTERVAL", value_parser = parse_duration, default_value = "5s")]
    alert_poll_interval: Duration,
    /// File with the bearer token that it asks for.
    #[arg(long, env = "TIDEGATE_ALERTMANAGER_TOKEN_FILE", requires = "alertmanager_url")]
    alertmanager_token_file: Option<PathBuf>,
    /// Authorities that sign its certificate (PEM), instead of those of the machine.
    #[arg(long, env = "TIDEGATE_ALERTMANAGER_CA_FILE", requires = "alertmanager_url")]
    alertmanager_ca_file: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum AlertError {
    #[error(
        "--alert-address needs a certificate: give --alert-tls-cert and --alert-tls-key, or --alert-insecure where \
         nobody else sees the traffic"
    )]
    Insecure,
    #[error("--alertmanager-url cannot be used")]
    Url(#[source] AddressError),
    #[error("--alert-poll-interval is less than a second")]
    Interval,
}

impl AlertArguments {
    /// What can be judged before anything begins.
    pub fn check(&self, policy: &AddressPolicy) -> Result<(), AlertError> {
        if self.alert_address.is_some() && self.alert_tls_cert.is_none() && !self.alert_insecure {
            return Err(AlertError::Insecure);
        }
        if let Some(url) = &self.alertmanager_url {
            check_address(url, policy).map_err(AlertError::Url)?;
        }
        match self.alert_poll_interval < Duration::from_secs(1) {
            true => Err(AlertError::Interval),
            false => Ok(()),
        }
    }

    /// Whether alerts come at all.
    pub fn are_taken(&self) -> bool {
        self.alert_address.is_some() || self.alertmanager_url.is_some()
    }

    /// How alerts are received, if they are.
    pub fn receiver(&self) -> Option<receiver::Settings> {
        let tls = self.alert_tls_cert.clone().zip(self.alert_tls_key.clone());
        Some(receiver::Settings {
            address: self.alert_address?,
            tls: tls.map(|(certificate, key)| receiver::TlsFiles {
                certificate,
                key,
                client_ca: self.alert_client_ca.clone(),
            }),
            tokens: self.alert_tokens.clone()?,
            labels: RoutingLabels {
                namespace: self.alert_namespace_label.clone(),
                rollout: self.alert_rollout_label.clone(),
            },
        })
    }

    /// Whom to ask for alerts, if anybody.
    pub fn poll(&self, policy: AddressPolicy) -> Option<AlertPoll> {
        let source = Alertmanager::new(
            self.alertmanager_url.clone()?,
            self.alertmanager_token_file.clone(),
            self.alertmanager_ca_file.clone(),
            policy,
        );
        Some(AlertPoll {
            source: Arc::new(source),
            interval: self.alert_poll_interval,
        })
    }
}
