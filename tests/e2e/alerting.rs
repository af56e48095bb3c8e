//! Alerts as a shop has them: rules in Prometheus, and an Alertmanager that posts what fires to every replica, but for
//! one alert that it cannot post, which the controller must ask for.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidegate::sandbox::alertmanager::Alertmanager;

/// How the namespace of a shop begins whose errors fire an alert, and what the alert is called.
pub const ALERTS: [(&str, &str); 2] = [
    ("alert-pushed", "HighErrorRate"),
    ("alert-polled", "HighErrorRateUnsent"),
];
/// A replica receives alerts at a port so far from that of its metrics.
pub const RECEIVER_BESIDE: u16 = 100;
const RECEIVERS: [u16; 2] = [9181, 9182];
const TOKEN: &str = "a-token-of-the-end-to-end-tests";
const POLL_INTERVAL: &str = "1s";

/// One that fires as soon as customers are answered with errors.
pub fn rules() -> Value {
    let rules = ALERTS.map(|(namespaces, name)| {
        let errors = format!("http_requests_total{{code=~\"5..\",namespace=~\"{namespaces}.*\"}}");
        json!({
            "alert": name,
            "expr": format!("sum by (namespace) (rate({errors}[3s])) > 0"),
            "annotations": {"summary": "{{ $value | humanize }} errors/s"},
        })
    });
    json!({"groups": [{"name": "shops", "rules": rules}]})
}

/// With the routes that docs/alerts.md tells to copy, and the files that the replicas need.
pub async fn start(directory: &Path) -> Alertmanager {
    let token = directory.join("alert-token");
    std::fs::write(&token, TOKEN).unwrap();
    let hash: String = Sha256::digest(TOKEN)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tokens = json!([{"namespaces": ["*"], "tokens": [format!("sha256:{hash}")]}]);
    std::fs::write(directory.join("alert-tokens.yaml"), tokens.to_string()).unwrap();
    let webhook = |address: String| {
        json!({
            "url": format!("http://{address}/alertmanager/v1/webhook"), "send_resolved": false,
            "http_config": {"authorization": {"credentials_file": token}},
        })
    };
    let [_, (_, unsent)] = ALERTS;
    let config = json!({
        "route": {
            "receiver": "tidegate", "group_by": ["..."],
            "group_wait": "0s", "group_interval": "10s", "repeat_interval": "1m",
            "routes": [{"matchers": [format!("alertname={unsent}")], "receiver": "nobody"}],
        },
        "receivers": [
            {"name": "tidegate", "webhook_configs": RECEIVERS.map(|port| webhook(format!("127.0.0.1:{port}")))},
            {"name": "nobody", "webhook_configs": [webhook("127.0.0.1:1".to_owned())]},
        ],
    });
    Alertmanager::start(&config).await.unwrap()
}

/// Of a replica that receives alerts at this port, and asks for them.
pub fn arguments(directory: &Path, alertmanager: &Alertmanager, port: u16) -> Vec<String> {
    vec![
        format!("--alert-address=127.0.0.1:{port}"),
        format!("--alert-tokens={}", directory.join("alert-tokens.yaml").display()),
        "--alert-insecure".to_owned(),
        format!("--alertmanager-url={}", alertmanager.url()),
        format!("--alert-poll-interval={POLL_INTERVAL}"),
    ]
}
