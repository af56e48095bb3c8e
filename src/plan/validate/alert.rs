//! Alerts that abort a release: their matchers must be readable, and must not be met by any alert whatever.

use super::violation::{Findings, InvalidReason};
use crate::api::matcher::Matcher;
use crate::api::rollout::AbortOn;

pub(super) fn check_abort_on(abort_on: Option<&AbortOn>, findings: &mut Findings) {
    findings.about(InvalidReason::InvalidAlert);
    let alerts = abort_on.into_iter().flat_map(|abort_on| &abort_on.alerts);
    for (index, alert) in alerts.enumerate() {
        let path = format!("spec.abortOn.alerts[{index}].matchers");
        let mut is_met_by_any = true;
        for (place, text) in alert.matchers.iter().enumerate() {
            match Matcher::parse(text) {
                Ok(matchers) => is_met_by_any &= matchers.iter().all(Matcher::matches_absence),
                Err(error) => {
                    findings.add(format!("{path}[{place}]"), error.to_string(), "");
                    is_met_by_any = false;
                }
            }
        }
        findings.require(
            !is_met_by_any,
            path,
            "is met by an alert without any label, so every alert would abort",
            "add one such as alertname=\"HighErrorRate\"",
        );
    }
}
