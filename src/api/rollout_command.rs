//! The `RolloutCommand`: a person or an alert asks for something. Who may ask is RBAC on this kind, and the
//! objects are the log. Immutable once created, handled exactly once.

use chrono::{DateTime, Utc};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Revision, StepIndex};

/// What `requestedBy` begins with where an alert asks; its name follows.
pub const ALERT_PREFIX: &str = "alert:";

/// Promote, abort or retry one Rollout of this namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "RolloutCommand",
    plural = "rolloutcommands",
    namespaced,
    status = "RolloutCommandStatus",
    derive = "PartialEq",
    shortname = "rolcmd",
    category = "delivery",
    printcolumn(name = "Rollout", type_ = "string", json_path = ".spec.rollout"),
    printcolumn(name = "Verb", type_ = "string", json_path = ".spec.verb"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.requestedBy"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutCommandSpec {
    /// Name of a Rollout in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub rollout: String,
    /// What to do.
    pub verb: Verb,
    /// Refused when it no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// Why; kept in the history of the Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who asks: their own user name, to which the chart's admission policy holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub requested_by: Option<String>,
    /// The alert that asks, instead of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertRef>,
    /// `PromoteFull` although an analysis failed; needs a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verb {
    /// End the pause or skip the current step.
    Promote,
    /// Skip all remaining steps and analyses.
    PromoteFull,
    Abort,
    /// Start an aborted revision again from its first step.
    Retry,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expectation {
    /// The revision that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The index of the step that was looked at, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRef {
    /// What tells the alert from others; in the history as `alert:<fingerprint>`.
    pub fingerprint: String,
    /// When the alert began to fire.
    pub starts_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutCommandStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<CommandPhase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CommandPhase {
    Accepted,
    Refused,
    /// Its revision is over.
    Expired,
}
