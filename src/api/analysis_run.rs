//! The `AnalysisRun`: one judgement of one version at one gate, with everything it needs inside, so that an
//! edited or deleted template changes nothing about it.

use chrono::{DateTime, Utc};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis_template::{Metric, TemplateArg};

/// Measurements in progress or done.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "AnalysisRun",
    plural = "analysisruns",
    namespaced,
    status = "AnalysisRunStatus",
    derive = "PartialEq",
    shortname = "ar",
    category = "delivery",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunSpec {
    #[schemars(length(max = 20))]
    pub metrics: Vec<Metric>,
    /// Arguments with their values; only references to Secrets are left open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<TemplateArg>,
    /// Names of metrics that never decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<String>,
    /// Ends the run; what has not decided by then is Terminated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminate: bool,
    /// What the verdict counts for; absent on a run made by hand, which decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// A verdict counts only for the Rollout, version, steps and gate it was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    pub rollout_uid: String,
    pub pod_template_hash: String,
    pub step_hash: String,
    /// `step-3`, `background`, `bake`.
    pub name: String,
}

/// The verdict on a measurement, a metric or a run. Only Successful promotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    Successful,
    Running,
    #[default]
    Pending,
    NoData,
    Terminated,
    Inconclusive,
    Error,
    Failed,
}

impl Verdict {
    pub fn is_final(self) -> bool {
        !matches!(self, Verdict::Pending | Verdict::Running)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunStatus {
    #[serde(default)]
    pub phase: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metric_results: Vec<MetricResult>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricResult {
    pub name: String,
    pub phase: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Measurements that counted: neither errors nor waiting for data.
    #[serde(default)]
    pub count: i64,
    #[serde(default)]
    pub successful: i64,
    #[serde(default)]
    pub failed: i64,
    #[serde(default)]
    pub inconclusive: i64,
    #[serde(default)]
    pub error: i64,
    /// Measurements without data that did not count, by `noData: wait`.
    #[serde(default)]
    pub no_data: i64,
    #[serde(default)]
    pub consecutive_error: i64,
    #[serde(default)]
    pub consecutive_success: i64,
    /// The newest 10, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    /// The threshold in the condition, where it compares with a plain number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    pub phase: Verdict,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    /// The number that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
