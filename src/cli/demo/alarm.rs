//! The alarm of `abort-alert`: an alert receiver for the controller of the demo, and a real Alertmanager that sends to it
//! where one is installed. Otherwise what it would send is posted in its place, and the demo says so.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::alerts::RoutingLabels;
use crate::clock::Clock;
use crate::controllers::run::Handle;
use crate::providers::install_tls;
use crate::receiver::{self, Listening, PATH, ReceiverError};
use crate::sandbox::alertmanager::{Alertmanager, Error};

/// The name of the alert; the Rollout asks for it by a matcher.
pub const ALERT: &str = "CartsStayEmpty";
/// Of this machine, for as long as the demo runs.
const TOKEN: &str = "demo";

#[derive(Debug, Error)]
pub enum AlarmError {
    #[error("cannot receive alerts")]
    Receiver(#[from] ReceiverError),
    #[error(transparent)]
    Alertmanager(Error),
    #[error("cannot prepare the alert receiver")]
    File(#[from] std::io::Error),
    #[error("cannot send an alert")]
    Send(#[from] reqwest::Error),
    #[error("the alert was not taken")]
    NotTaken,
}

pub struct Alarm {
    receiver: SocketAddr,
    /// `None`: none is installed.
    alertmanager: Option<Alertmanager>,
    _serving: JoinSet<()>,
}

impl Alarm {
    /// Files are put into the directory.
    pub async fn set_up(controller: &Handle, directory: &Path) -> Result<Self, AlarmError> {
        let tokens = directory.join("tokens.yaml");
        let digest = Sha256::digest(TOKEN);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let entries = json!([{"namespaces": ["*"], "tokens": [format!("sha256:{hash}")]}]);
        std::fs::write(&tokens, entries.to_string())?;
        let settings = receiver::Settings {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            tokens,
            labels: RoutingLabels::default(),
        };
        let context = Arc::clone(&controller.context);
        let listening = Listening::begin(settings, context, controller.readiness()).await?;
        let receiver = listening.address()?;
        let alertmanager = match Alertmanager::start(&config(receiver)).await {
            Ok(alertmanager) => Some(alertmanager),
            Err(Error::Missing { .. }) => None,
            Err(error) => return Err(AlarmError::Alertmanager(error)),
        };
        let mut serving = JoinSet::new();
        serving.spawn(listening.serve());
        Ok(Alarm {
            receiver,
            alertmanager,
            _serving: serving,
        })
    }

    pub fn has_alertmanager(&self) -> bool {
        self.alertmanager.is_some()
    }

    /// What to type to let it fire.
    pub fn command(&self) -> String {
        match &self.alertmanager {
            Some(alertmanager) => format!(
                r#"curl -H 'Content-Type: application/json' -d '[{{"labels":{{"alertname":"{ALERT}"}}}}]' {}/api/v2/alerts"#,
                alertmanager.url()
            ),
            None => format!(
                r#"curl -H 'Content-Type: application/json' -H 'Authorization: Bearer {TOKEN}' -d '{{"version":"4","alerts":[{{"status":"firing","labels":{{"alertname":"{ALERT}"}},"fingerprint":"1","startsAt":"'$(date -u +%FT%TZ)'"}}]}}' http://{}{PATH}"#,
                self.receiver
            ),
        }
    }

    /// Lets the alert fire.
    pub async fn ring(&self) -> Result<(), AlarmError> {
        let labels = json!({"alertname": ALERT});
        let summary = "customers lose what they put into their carts";
        match &self.alertmanager {
            Some(alertmanager) => match alertmanager.fire(&labels, summary).await {
                true => Ok(()),
                false => Err(AlarmError::NotTaken),
            },
            None => self.post(&labels, summary).await,
        }
    }

    async fn post(&self, labels: &Value, summary: &str) -> Result<(), AlarmError> {
        let starts_at = Clock::System.now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = json!({"version": "4", "alerts": [{
            "status": "firing", "labels": labels, "annotations": {"summary": summary},
            "startsAt": starts_at, "fingerprint": "demo",
        }]});
        install_tls();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let request = client.post(format!("http://{}{PATH}", self.receiver));
        let sent = request.bearer_auth(TOKEN).json(&body).send().await?;
        sent.error_for_status()?;
        Ok(())
    }
}

fn config(receiver: SocketAddr) -> Value {
    json!({
        "route": {
            "receiver": "tidegate", "group_by": ["..."],
            "group_wait": "0s", "group_interval": "10s", "repeat_interval": "1m",
        },
        "receivers": [{"name": "tidegate", "webhook_configs": [{
            "url": format!("http://{receiver}{PATH}"),
            "send_resolved": false,
            "http_config": {"authorization": {"credentials": TOKEN}},
        }]}],
    })
}
