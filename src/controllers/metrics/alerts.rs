//! What came of alerts, and of the ways they come by.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Labels;

#[derive(Debug, Default)]
pub struct AlertCounters {
    alerts: Family<Labels<2>, Counter>,
    truncated: Counter,
    requests: Family<Labels<1>, Counter>,
    polls: Family<Labels<1>, Counter>,
    reloads: Family<Labels<2>, Counter>,
}

impl AlertCounters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "alerts",
            "Alerts by source (push, poll) and by what came of them: asked (an abort was asked for), known, unstored, \
             or why they were ignored",
            self.alerts.clone(),
        );
        registry.register(
            "alerts_truncated",
            "Alerts that Alertmanager left out of what it sent",
            self.truncated.clone(),
        );
        registry.register(
            "alert_requests",
            "Requests to the alert receiver by status code",
            self.requests.clone(),
        );
        registry.register(
            "alert_polls",
            "Questions to Alertmanager by result: ok or error",
            self.polls.clone(),
        );
        registry.register(
            "alert_file_reloads",
            "Changes of the receiver's files by file (tokens, tls) and result: ok or error",
            self.reloads.clone(),
        );
    }

    pub fn count(&self, source: &'static str, result: &'static str, alerts: usize) {
        let counter = self
            .alerts
            .get_or_create(&[("source", source), ("result", result)]);
        counter.inc_by(u64::try_from(alerts).unwrap_or(u64::MAX));
    }

    pub fn count_truncated(&self, alerts: u64) {
        self.truncated.inc_by(alerts);
    }

    pub fn count_request(&self, code: &'static str) {
        self.requests.get_or_create(&[("code", code)]).inc();
    }

    pub fn count_poll(&self, result: &'static str) {
        self.polls.get_or_create(&[("result", result)]).inc();
    }

    pub fn count_reload(&self, file: &'static str, result: &'static str) {
        self.reloads
            .get_or_create(&[("file", file), ("result", result)])
            .inc();
    }
}
