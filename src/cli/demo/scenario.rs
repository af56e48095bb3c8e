//! The scenarios of the demo and what is reported of each.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::rollout_status::{AbortReason, AbortSource};
use crate::sandbox::shop::Version;

/// One release, and how it must end.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub version: Version<'static>,
    pub story: &'static str,
    /// `None`: it must be promoted.
    pub aborted_by: Option<AbortSource>,
    /// The metric that must have decided.
    pub rule: Option<&'static str>,
}

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "promote",
        version: Version {
            name: "v2",
            latency_ms: "20",
            error_rate: "0",
        },
        story: "v2 is fine",
        aborted_by: None,
        rule: None,
    },
    Scenario {
        name: "abort-errors",
        version: Version {
            name: "v3",
            latency_ms: "20",
            error_rate: "0.05",
        },
        story: "v3 answers 5 % of its requests with 500",
        aborted_by: Some(AbortSource::Analysis),
        rule: Some("error-rate"),
    },
    Scenario {
        name: "abort-latency",
        version: Version {
            name: "v4",
            latency_ms: "900",
            error_rate: "0",
        },
        story: "v4 is slow",
        aborted_by: Some(AbortSource::Analysis),
        rule: Some("latency-p95"),
    },
    Scenario {
        name: "abort-command",
        version: Version {
            name: "v5",
            latency_ms: "20",
            error_rate: "0",
        },
        story: "v5 is fine, but somebody has second thoughts",
        aborted_by: Some(AbortSource::Command),
        rule: None,
    },
    Scenario {
        name: "abort-alert",
        version: Version {
            name: "v6",
            latency_ms: "20",
            error_rate: "0",
        },
        story: "v6 answers fast and without errors, but an alert fires",
        aborted_by: Some(AbortSource::Alert),
        rule: Some("alert CartsStayEmpty"),
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    Promoted,
    Aborted,
}

/// What `--json` prints of a scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    pub scenario: &'static str,
    pub outcome: Outcome,
    pub revision: i64,
    /// The canary's weights in the order they were written.
    pub weights: Vec<i64>,
    pub max_canary_weight: i64,
    pub requests: u64,
    pub canary_requests: u64,
    /// Answers 5xx by a pod itself.
    pub errors: u64,
    /// Requests that no pod answered.
    pub lost: u64,
    /// `null` when it was promoted: a script finds the same fields in every line.
    pub abort: Option<AbortGrounds>,
    pub seconds_to_outcome: f64,
    /// The controller's writes, by kind.
    pub writes: BTreeMap<String, u64>,
    /// Whether it ended as the scenario must.
    #[serde(skip)]
    pub expected: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct AbortGrounds {
    pub by: AbortSource,
    pub rule: Option<String>,
    pub measured: Option<f64>,
    pub threshold: Option<f64>,
}

impl From<&AbortReason> for AbortGrounds {
    fn from(reason: &AbortReason) -> Self {
        AbortGrounds {
            by: reason.by,
            rule: reason.rule.clone(),
            measured: reason.measured,
            threshold: reason.threshold,
        }
    }
}

impl Scenario {
    /// Whether this is what the scenario must come to.
    pub fn expects(&self, abort: Option<&AbortReason>) -> bool {
        let rule = abort.and_then(|abort| abort.rule.as_deref());
        abort.map(|abort| abort.by) == self.aborted_by && self.rule.is_none_or(|wanted| rule == Some(wanted))
    }
}

impl ScenarioResult {
    pub fn is_expected(&self) -> bool {
        self.expected && self.lost == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abort(by: AbortSource, rule: &str) -> AbortReason {
        AbortReason {
            at: chrono::DateTime::UNIX_EPOCH,
            by,
            who: None,
            reason: "too many errors".to_owned(),
            rule: Some(rule.to_owned()),
            measured: None,
            threshold: None,
        }
    }

    #[test]
    fn each_scenario_has_one_way_to_end() {
        let ends = [
            None,
            Some(abort(AbortSource::Analysis, "error-rate")),
            Some(abort(AbortSource::Analysis, "latency-p95")),
            Some(abort(AbortSource::Command, "RolloutCommand x")),
            Some(abort(AbortSource::Alert, "alert CartsStayEmpty")),
        ];
        for (scenario, wanted) in SCENARIOS.iter().zip(0..) {
            for (end, at) in ends.iter().zip(0..) {
                let expects = scenario.expects(end.as_ref());
                assert_eq!(expects, at == wanted, "{} {end:?}", scenario.name);
            }
        }
    }

    #[test]
    fn a_lost_request_or_another_end_is_not_expected() {
        let result = |expected, lost| ScenarioResult {
            scenario: "promote",
            outcome: Outcome::Promoted,
            revision: 2,
            weights: vec![10, 0],
            max_canary_weight: 10,
            requests: 2,
            canary_requests: 1,
            errors: 0,
            lost,
            abort: None,
            seconds_to_outcome: 1.5,
            writes: BTreeMap::new(),
            expected,
        };
        assert!(result(true, 0).is_expected());
        assert!(!result(true, 1).is_expected());
        assert!(!result(false, 0).is_expected());
        let printed = serde_json::json!(result(true, 0));
        assert_eq!(printed.get("abort"), Some(&serde_json::Value::Null));
        assert_eq!(printed.get("expected"), None);
    }
}
